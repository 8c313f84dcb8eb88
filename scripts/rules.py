"""Evaluates the rules in CEL of the resource TrainingJob: each holds for a right job, and fails for one that breaks it.

Run by scripts/manifests.sh, with cel-python and PyYAML. The API server that tests use is older than such rules.
"""

import copy

import celpy
import yaml

DEFINITION = "k8s/base/trainingjobs.phalanx.dev-customresourcedefinition.yaml"
EXAMPLE = "k8s/examples/mnist-trainingjob.yaml"

# What breaks one rule and no other, by a part of what the rule says: where, and what is there then. Whoever applies it for
# the first time breaks no rule about changes.
BROKEN = {
    "give either": ("train", {"steps": 3}),
    "must divide": ("train", {"batch_size": 100}),
    "at most `train.lanes`": ("workers", {"min": 9}),
    "at most `workers.max`": ("workers", {"min": 4, "max": 2}),
}
CHANGES = {
    "`data` decides": ("data", {"target": "another"}),
    "`model` decides": ("model", {"cnn": {"channels": [8]}}),
    "`train` decides": ("train", {"seed": 7}),
}


def read(path):
    with open(path, encoding="utf-8") as file:
        return yaml.safe_load(file)


def changed(job, section, fields):
    job = copy.deepcopy(job)
    job[section] = {**job.get(section, {}), **fields}
    return job


def broken(rules, job, before):
    """The messages of the rules that do not hold."""
    environment = celpy.Environment()
    values = {"self": celpy.json_to_cel(job), "oldSelf": celpy.json_to_cel(before)}
    holds = lambda rule: environment.program(environment.compile(rule["rule"])).evaluate(values)
    return [rule["message"] for rule in rules if not holds(rule)]


def main():
    version = read(DEFINITION)["spec"]["versions"][0]
    rules = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["x-kubernetes-validations"]
    right = read(EXAMPLE)["spec"]
    assert broken(rules, right, right) == [], "the example is right"
    scaled = changed(right, "workers", {"min": 2, "max": 4})
    assert broken(rules, scaled, right) == [], "workers may change"
    for expected, (section, fields) in {**BROKEN, **CHANGES}.items():
        wrong = changed(right, section, fields)
        found = broken(rules, wrong, right if expected in CHANGES else wrong)
        assert len(found) == 1 and expected in found[0], f"{section} {fields}: expected `{expected}`, got {found}"
    assert len(rules) == len(BROKEN) + len(CHANGES), "each rule is broken once"
    print(f"rules.py: {len(rules)} rules hold where they should, and fail where they should")


if __name__ == "__main__":
    main()
