"""The clauses of the container contract, in the order in which they are judged: cheap and harmless ones first.

Source: AWS, "Custom Containers Contract for Multi-Model Endpoints", where a clause says ``D``.
"""

from pytest_mme.contract.conformance.clauses import failing, invoking, loading, looking
from pytest_mme.contract.conformance.clauses.clause import Clause

CLAUSES: tuple[Clause, ...] = (
    *looking.LOOKING,
    *invoking.NOTHING_LOADED,
    *loading.NOTHING_LOADED,
    *loading.LOADING,
    *looking.LOOKING_AT_MODELS,
    *invoking.INVOKING,
    *loading.LOADING_AGAIN,
    *loading.UNLOADING,
    *loading.MEMORY,
    *looking.EXTENSIVE,
    *failing.FAILING,
)

__all__ = ["CLAUSES", "Clause"]
