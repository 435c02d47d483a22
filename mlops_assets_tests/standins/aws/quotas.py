"""Service Quotas of SageMaker, which moto does not know: the operation that tells all of a service's."""

from __future__ import annotations

import json
from typing import ClassVar

from moto.servicequotas.exceptions import NoSuchResource
from moto.servicequotas.responses import ServiceQuotasResponse

# As a new account has them: small machines, none with a GPU.
DEFAULTS = {
    "ml.m5.large for training job usage": 20.0,
    "ml.m5.large for spot training job usage": 20.0,
    "ml.m5.large for processing job usage": 20.0,
    "ml.m5.large for endpoint usage": 4.0,
    "ml.m5.large for transform job usage": 20.0,
    "ml.g5.xlarge for training job usage": 0.0,
}


class QuotaOperations(ServiceQuotasResponse):
    """ListServiceQuotas."""

    quotas: ClassVar[dict[str, float]] = {}

    def list_service_quotas(self) -> str:
        """Two quotas a page, so that a client which reads one page is found out."""
        given = json.loads(self.body)
        if given["ServiceCode"] != "sagemaker":
            raise NoSuchResource
        start, items = int(given.get("NextToken") or 0), list(self.quotas.items())
        page = [
            {"ServiceCode": "sagemaker", "QuotaName": name, "Value": value}
            for name, value in items[start : start + 2]
        ]
        more = {"NextToken": str(start + 2)} if start + 2 < len(items) else {}
        return json.dumps({"Quotas": page, **more})


def install() -> None:
    """Let moto's server answer with `QuotaOperations`."""
    import moto.servicequotas.urls

    QuotaOperations.quotas = dict(DEFAULTS)
    moto.servicequotas.urls.url_paths["{0}/$"] = QuotaOperations.dispatch
