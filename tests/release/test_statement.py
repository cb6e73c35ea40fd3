"""A manifest has the shape that in-toto and SLSA publish."""

import re

import pytest
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1 import statement_pb2

from tests.release.test_manifest import base, manifest
from unwrite.release.manifest import manifest_json
from unwrite.schema.artifacts import Base


@pytest.mark.parametrize("of", [base(), base("a/folder", None)])
def test_manifest_has_the_published_shape(of: Base) -> None:
    # The protocol buffers that in-toto publishes: an unknown field, or one of another type, is an error.
    values = manifest_json(manifest(of))
    statement = json_format.ParseDict(values, statement_pb2.Statement())
    assert statement.type == "https://in-toto.io/Statement/v1"
    assert statement.predicate_type == "https://slsa.dev/provenance/v1"
    predicate = json_format.ParseDict(values["predicate"], provenance_pb2.Provenance())
    assert len(predicate.build_definition.resolved_dependencies) >= 5
    for uri in (predicate.build_definition.build_type, predicate.run_details.builder.id):
        assert re.fullmatch(r"[a-z]+:\S+", uri)  # TypeURI: a scheme and something after it
    for one in (*statement.subject, *predicate.build_definition.resolved_dependencies):
        assert re.fullmatch("[0-9a-f]{64}|[0-9a-f]{40}", *one.digest.values())


def test_check_of_the_shape_can_fail() -> None:
    values = manifest_json(manifest())
    values["predicate"]["runDetails"]["ours"] = "x"
    with pytest.raises(json_format.ParseError):
        json_format.ParseDict(values["predicate"], provenance_pb2.Provenance())
