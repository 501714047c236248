"""AWS for clients: S3, SageMaker and CloudWatch by moto, SageMaker Runtime by the kit."""
