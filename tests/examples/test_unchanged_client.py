import json

import boto3


def test_unchanged_client_code(mme_endpoint, mme_models):
    mme_endpoint(mme_models.fleet(2), name="ranking")
    runtime = boto3.client("sagemaker-runtime", region_name="us-east-1")
    reply = runtime.invoke_endpoint(
        EndpointName="ranking",
        TargetModel="model-0.tar.gz",
        ContentType="application/json",
        Body=json.dumps({"instances": [[1.0]]}),
    )
    assert "predictions" in json.loads(reply["Body"].read())
