"""The requests of a mix, made by Locust: on one machine, or on many."""

import itertools
import json
import os
import time

import boto3
from botocore.exceptions import ClientError
from locust import User, task

TARGETS = json.loads(os.environ["TARGETS"])  # json.dumps([model.key for model in itertools.islice(mix.start(), 1000)])


class Client(User):
    def on_start(self):
        self.runtime = boto3.client("sagemaker-runtime")  # with AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME of the test
        self.targets = itertools.cycle(TARGETS)

    @task
    def ask(self):
        target, began, failure = next(self.targets), time.perf_counter(), None
        try:
            self.runtime.invoke_endpoint(
                EndpointName=os.environ["ENDPOINT"],
                TargetModel=target,
                ContentType="application/json",
                Body=b'{"instances": [[1.0]]}',
            )
        except ClientError as error:
            failure = error
        milliseconds = (time.perf_counter() - began) * 1e3
        self.environment.events.request.fire(
            request_type="invoke", name=target, response_time=milliseconds, response_length=0, exception=failure
        )
