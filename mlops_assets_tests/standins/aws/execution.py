"""One job from its first byte downloaded to its last one uploaded, as the service does it."""

from __future__ import annotations

import json
import math
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from mlops_assets_tests.standins.aws.container import OPT_ML, Container, Exit
from mlops_assets_tests.standins.aws.jobs import Job, now
from mlops_assets_tests.standins.aws.limits import TRAINING, Kind
from mlops_assets_tests.standins.aws.log_stream import LogStream
from mlops_assets_tests.standins.aws.transfers import DownloadError, download, upload, upload_archive

_DAY = 86_400
_LONGEST_REASON = 1_024


class Execution:
    """Runs jobs.

    Args:
        client: makes a boto3 client of a service that talks to this server.
        environment: what every container gets beside its job's own: where AWS is, and as whom.
    """

    def __init__(self, client: Callable[[str], Any], environment: Mapping[str, str]) -> None:
        self._client, self._environment = client, environment
        # Other kinds of jobs, by what runs one to its end.
        self.others: dict[Kind, Callable[[Job, LogStream], Callable[[], None]]] = {}

    def __call__(self, job: Job, folder: Path) -> None:
        """Run `job` to its end; every failure is the job's own."""
        logs = LogStream(
            self._client("logs"), job.kind.log_group, f"{job.name}/algo-1-{int(time.time() * 1000)}"
        )
        run = _Training if job.kind is TRAINING else _Processing
        step = run(job, folder, self._client("s3"), logs, self._environment)
        other = self.others.get(job.kind)
        try:
            end = other(job, logs) if other else step.run()
        except DownloadError as error:
            end = step.failed(f"ClientError: Data download failed:{error}")
        except Exception as error:  # what is wrong with the stand-in must not look like the job's success
            end = step.failed(f"InternalServerError: {type(error).__name__}: {error}")
        finally:
            logs.close()
            shutil.rmtree(folder, ignore_errors=True)
        end()


class _Run:
    """What training and processing share."""

    def __init__(
        self, job: Job, folder: Path, s3: Any, logs: LogStream, environment: Mapping[str, str]
    ) -> None:
        self.job, self.folder, self.s3, self.logs = job, folder, s3, logs
        self.request = job.describe()
        self.environment = {**environment, **(self.request.get("Environment") or {})}

    def place(self, path: str) -> Path:
        """A path below /opt/ml, on this machine; its folder is made."""
        place = self.folder / Path(path).relative_to(OPT_ML)
        place.mkdir(parents=True, exist_ok=True)
        return place

    def write(self, path: str, value: Any) -> None:
        """A JSON file of the service's own, below /opt/ml."""
        file = self.place(str(Path(path).parent)) / Path(path).name
        file.write_text(json.dumps(value, default=str))

    def text(self, path: str) -> str:
        """A file that the container may have written; empty where it did not."""
        file = self.folder / Path(path).relative_to(OPT_ML)
        return file.read_text(errors="replace")[:_LONGEST_REASON] if file.is_file() else ""

    def execute(self, command: Sequence[str]) -> Exit:
        """Run the container until it ends, is ordered to end or has had its time."""
        program = {"python": sys.executable, "python3": sys.executable}.get(command[0], command[0])
        container = Container([program, *command[1:]], self.environment, self.folder, self.logs)
        stopping = self.request.get("StoppingCondition") or {}
        return container.wait(stopping.get("MaxRuntimeInSeconds", _DAY), lambda: self.job.order)

    def failed(self, reason: str) -> Callable[[], None]:
        """How to end a job that failed."""
        return lambda: self.end("Failed", FailureReason=reason[:_LONGEST_REASON])

    def end(self, status: str, **fields: Any) -> None:
        """Set the last description."""
        raise NotImplementedError


class _Training(_Run):
    def run(self) -> Callable[[], None]:
        """Download, train (again where a spot instance was taken away), upload."""
        self.job.secondary("Downloading", "Downloading input data")
        self.job.update(TrainingStartTime=now())
        self.download()
        if self.job.order == "stop":
            return lambda: self.end("Stopped", "Stopped")
        self.job.secondary("Training", "Training image download completed. Training in progress.")
        end = self.execute(self.command())
        self.save_checkpoints()
        if end.order == "interrupt":
            self.job.order = None
            self.job.secondary("Interrupted", "Training job interrupted: the spot instance was reclaimed")
            shutil.rmtree(self.folder)
            self.job.secondary("Starting", "Preparing the instances for training")
            return self.run()
        return self.finish(end)

    def finish(self, end: Exit) -> Callable[[], None]:
        self.job.secondary("Uploading", "Uploading generated training model")
        self.upload(model=bool(end.order) or end.code == 0)
        if end.order == "stop":
            return lambda: self.end("Stopped", "Stopped")
        if end.order == "timeout":
            return lambda: self.end("Stopped", "MaxRuntimeExceeded")
        if end.code != 0:
            written = self.text("/opt/ml/output/failure")
            return self.failed(f"AlgorithmError: {written}, exit code: {end.code}")
        return lambda: self.end("Completed", "Completed")

    def download(self) -> None:
        for folder in ("model", "output/data", "input/config", "code"):
            self.place(f"{OPT_ML}/{folder}")
        channels: dict[str, Any] = {}
        for channel in self.request.get("InputDataConfig") or []:
            name, source = channel["ChannelName"], channel["DataSource"]["S3DataSource"]
            download(
                self.s3, source["S3Uri"], self.place(f"{OPT_ML}/input/data/{name}"), source["S3DataType"]
            )
            channels[name] = {"TrainingInputMode": channel.get("InputMode", "File")}
        self.write("/opt/ml/input/config/inputdataconfig.json", channels)
        self.write("/opt/ml/input/config/hyperparameters.json", self.request.get("HyperParameters") or {})
        self.write(
            "/opt/ml/input/config/resourceconfig.json",
            {"current_host": "algo-1", "hosts": ["algo-1"], "network_interface_name": "eth0"},
        )
        checkpoints = self.request.get("CheckpointConfig")
        if checkpoints:
            place = self.place(checkpoints.get("LocalPath", "/opt/ml/checkpoints"))
            try:
                download(self.s3, checkpoints["S3Uri"].rstrip("/") + "/", place)
            except DownloadError:
                place.mkdir(parents=True, exist_ok=True)

    def command(self) -> list[str]:
        algorithm = self.request["AlgorithmSpecification"]
        if not algorithm.get("ContainerEntrypoint"):
            raise DownloadError("the stand-in runs images by their ContainerEntrypoint alone")
        self.environment |= {
            "TRAINING_JOB_NAME": self.job.name,
            "TRAINING_JOB_ARN": self.request["TrainingJobArn"],
        }
        return [*algorithm["ContainerEntrypoint"], *(algorithm.get("ContainerArguments") or [])]

    def save_checkpoints(self) -> None:
        checkpoints = self.request.get("CheckpointConfig")
        if checkpoints:
            upload(
                self.s3,
                self.place(checkpoints.get("LocalPath", "/opt/ml/checkpoints")),
                checkpoints["S3Uri"],
            )

    def upload(self, *, model: bool) -> None:
        output = self.request["OutputDataConfig"]
        prefix = f"{output['S3OutputPath'].rstrip('/')}/{self.job.name}/output"
        data, folder = self.place("/opt/ml/output/data"), self.place("/opt/ml/model")
        if any(data.iterdir()):
            upload_archive(self.s3, data, f"{prefix}/output.tar.gz")
        if not model or not any(folder.iterdir()):
            return
        if output.get("CompressionType") == "NONE":
            upload(self.s3, folder, f"{prefix}/model")
            self.job.update(ModelArtifacts={"S3ModelArtifacts": f"{prefix}/model/"})
        else:
            upload_archive(self.s3, folder, f"{prefix}/model.tar.gz")
            self.job.update(ModelArtifacts={"S3ModelArtifacts": f"{prefix}/model.tar.gz"})

    def end(self, status: str, secondary: str = "Failed", **fields: Any) -> None:
        """The last description: times, the bill, the reason."""
        description = self.job.describe()
        seconds = _seconds(description.get("TrainingStartTime"))
        self.job.secondary(secondary, fields.get("FailureReason", secondary))
        self.job.update(
            TrainingEndTime=now(),
            TrainingTimeInSeconds=seconds,
            BillableTimeInSeconds=seconds,
            TrainingJobStatus=status,
            **fields,
        )


class _Processing(_Run):
    def run(self) -> Callable[[], None]:
        """Download, process, upload."""
        self.job.update(ProcessingStartTime=now())
        for item in self.request.get("ProcessingInputs") or []:
            source = item["S3Input"]
            download(self.s3, source["S3Uri"], self.place(source["LocalPath"]), source["S3DataType"])
        configured = (self.request.get("ProcessingOutputConfig") or {}).get("Outputs") or []
        outputs = [item["S3Output"] for item in configured]
        places = [self.place(output["LocalPath"]) for output in outputs]
        self.place("/opt/ml/output")
        self.write("/opt/ml/config/processingjobconfig.json", self.request)
        self.write("/opt/ml/config/resourceconfig.json", {"current_host": "algo-1", "hosts": ["algo-1"]})
        application = self.request["AppSpecification"]
        command = [*application["ContainerEntrypoint"], *(application.get("ContainerArguments") or [])]
        end = self.execute(command)
        if end.order is None and end.code == 0:
            for place, output in zip(places, outputs, strict=True):
                upload(self.s3, place, output["S3Uri"])
            return lambda: self.end("Completed")
        message = {"ExitMessage": text} if (text := self.text("/opt/ml/output/message")) else {}
        if end.order is not None:
            return lambda: self.end("Stopped", **message)
        reason = f"AlgorithmError: See job logs for more information, exit code: {end.code}"
        return lambda: self.end("Failed", FailureReason=reason, **message)

    def end(self, status: str, **fields: Any) -> None:
        """The last description."""
        prefix = self.job.kind.prefix
        self.job.update(**{f"{prefix}EndTime": now(), self.job.kind.status: status}, **fields)


def _seconds(start: datetime | None) -> int:
    return math.ceil((now() - start).total_seconds()) if start else 0
