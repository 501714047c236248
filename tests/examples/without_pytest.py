"""Everything a fixture gives can be had with `with`: in a notebook, in a script, in another test framework."""

import pytest_mme

with pytest_mme.Run() as run, run.aws() as aws:
    models = run.models.fleet(3, weights_mib=100)
    with run.endpoint(models, aws=aws, fits=2) as endpoint:
        for model in models:
            print(model.name, endpoint.invoke(model, [1.0]))
        endpoint.check_evicted(models[0])
