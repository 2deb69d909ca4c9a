"""Mail about each import that failed or rejected files, and an alarm for the night without an import."""

from aws_cdk import App, Duration, Stack
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions

from healthimaging_cdk import DicomImport, ImportAlarms, ImportDashboard, Notify

app = App(context={"mail": "imaging@example.com"})  # cdk deploy -c mail=you@example.com
stack = Stack(app, "Notifications")
key = kms.Key(stack, "Key", enable_key_rotation=True)
people = sns.Topic(stack, "People", master_key=key, enforce_ssl=True)
people.add_subscription(subscriptions.EmailSubscription(app.node.get_context("mail")))

import_ = DicomImport(stack, "Import", encryption_key=key, notification_topic=people, notify=Notify.REJECTIONS)
on_call = sns.Topic(stack, "OnCall", master_key=key, enforce_ssl=True)
alarms = ImportAlarms(
    stack, "Alarms", import_, rejected_percent=1, no_success_for=Duration.hours(26), notification_topic=on_call
)
ImportDashboard(stack, "Dashboard", imports=[import_], alarms=[alarms])
app.synth()
