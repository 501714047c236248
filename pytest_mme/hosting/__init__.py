"""SageMaker's side: download, load, evict, retry, and the wire that boto3 talks to."""
