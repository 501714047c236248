"""The clauses of the container contract, in the order in which they are judged: cheap and harmless ones first.

Source: AWS, "Custom Containers Contract for Multi-Model Endpoints", where a clause says ``D``.
"""

from pytest_mme.contract.conformance.clauses import failing, invoking, loading, looking
from pytest_mme.contract.conformance.clauses.clause import Clause

CLAUSES: tuple[Clause, ...] = (
    looking.ping_in_time,
    looking.ping_200,
    looking.ping_empty,
    looking.list_200,
    looking.list_empty,
    looking.get_404,
    invoking.not_loaded,
    loading.unload_404,
    loading.load_200,
    looking.list_fields,
    looking.list_models,
    looking.list_last_page,
    looking.get_fields,
    invoking.answer,
    invoking.content_type,
    invoking.custom_attributes,
    invoking.target_model,
    invoking.two_models,
    invoking.largest_body,
    invoking.client_error,
    invoking.after_client_error,
    loading.twice_409,
    loading.twice_changes_nothing,
    loading.opaque_id,
    loading.unload_200,
    loading.unload_not_listed,
    loading.unload_then_404,
    loading.unload_frees_memory,
    looking.list_pages,
    failing.load_corrupt,
    failing.load_absent,
    failing.failed_not_listed,
    failing.load_after_failed,
    failing.ping_after_failed_load,
)

__all__ = ["CLAUSES", "Clause"]
