"""What the KubeRay operator demands of a RayService, or does to it, that its definition does not say.

Each rule names its place in KubeRay v1.7.0, below `ray-operator/controllers/ray`, or in Ray 2.60.0, below `ray`.
"""

import pytest

from bridges.command_line.main import cli
from tests.manifests.kustomize import one, resources, variants
from tests.manifests.ray_service import (
    GROUP_LABEL,
    Service,
    cluster,
    containers,
    deployments,
    drain_seconds,
    environment,
    groups,
    head,
    is_dns_label,
    longest_shutdown,
    name_of,
    option_seconds,
    pod,
    ports,
    pre_stop,
    ray_container,
    runs_ingresses,
    selected_group,
    serve_config,
    workers,
)


@pytest.fixture(params=variants(), ids=str)
def service(request: pytest.FixtureRequest) -> Service:
    return one(resources(request.param), "RayService")


# The cluster becomes active.


def test_the_head_names_the_ports_that_the_operator_looks_for(service: Service) -> None:
    """The ports of the head's container become those of its Service.

    Without one named `serve`, the operator makes no Service for Serve and ends each round with an error, before it
    writes the status: the cluster never becomes active (common/service.go:228). Without one named `dashboard`, it
    cannot hand over the configuration (rayservice_controller.go:2014).
    """
    assert {"serve", "dashboard"} <= set(ports(ray_container(head(service))))


def test_the_readiness_of_a_worker_does_not_ask_an_http_proxy(service: Service) -> None:
    """A worker without a readiness probe of its own gets one that asks Serve's proxy on port 8000 as well.

    No proxy runs here, so such a worker would never be ready, nor would the RayService (common/pod.go:816).
    """
    for group in workers(service):
        assert ray_container(group)["readinessProbe"]["httpGet"] == {"path": "/api/healthz", "port": 52365}


def test_no_pod_is_unready_because_a_model_is_away(service: Service) -> None:
    """Port 8081 is that of the first ingress of a node, and not every node has an ingress. It is for alerts alone."""
    for group in groups(service):
        for probe in ("readinessProbe", "livenessProbe"):
            assert ray_container(group)[probe]["httpGet"] == {"path": "/api/healthz", "port": 52365}


def test_a_node_that_hangs_is_replaced_within_minutes(service: Service) -> None:
    """The operator's own liveness probe waits for ten minutes (common/pod.go:775, utils/constant.go:316)."""
    for group in groups(service):
        probe = ray_container(group)["livenessProbe"]
        assert probe["periodSeconds"] * probe["failureThreshold"] <= 180


def test_a_slow_start_does_not_fail_the_service_for_good(service: Service) -> None:
    """Past this limit the operator deletes the clusters, and no change heals it (rayservice_controller.go:2229)."""
    assert "ray.io/initializing-timeout" not in service["metadata"].get("annotations", {})


def test_the_head_is_not_asked_for_its_proxy(service: Service) -> None:
    """Else the operator asks its port 8000 in each round, where no proxy runs (rayservice_controller.go:2104)."""
    assert service["spec"]["excludeHeadPodFromServeSvc"] is True


# A pod that is stopped finishes what it holds.


def test_ingresses_leave_their_queue_group_before_ray_is_stopped(service: Service) -> None:
    """The operator deletes all pods of a cluster at once and gives them no hook (rayservice_controller.go:1292)."""
    holders = [group for group in groups(service) if runs_ingresses(service, group)]
    assert holders
    for group in holders:
        assert pre_stop(group)[:2] == ["hearth", "drain"]
        assert option_seconds(pre_stop(group), "--timeout") > longest_shutdown(service)


def test_the_hook_is_a_command_that_there_is(service: Service) -> None:
    """A hook that fails is an Event, and the pod is stopped at once."""
    options = {name for parameter in cli.commands["drain"].params for name in parameter.opts}
    for group in groups(service):
        assert {word for word in pre_stop(group) if word.startswith("--")} <= options


def test_models_answer_what_ingresses_of_other_nodes_have_taken(service: Service) -> None:
    """At SIGTERM Ray drains a node for 30 s by default, then kills what runs on it (Ray `_private/node.py:665`).

    Where a replica cannot move, Serve stops it as long before that as it may take to stop
    (Ray `serve/_private/deployment_state.py:5928`).
    """
    (orchestration,) = (app for app in serve_config(service)["applications"] if app["name"] == "orchestration")
    longest_request = orchestration["args"]["nats"]["request_timeout_s"]
    for group in workers(service):
        models = [entry for entry in deployments(service) if selected_group(entry) == group["groupName"]]
        stop = max((entry["graceful_shutdown_timeout_s"] for entry in models), default=0)
        assert drain_seconds(group) > longest_shutdown(service)
        assert runs_ingresses(service, group) or drain_seconds(group) - stop >= longest_request


def test_the_head_outlives_the_answers_of_its_workers(service: Service) -> None:
    """The head gets its SIGTERM in the same second as the workers, and Ray's GCS goes with it.

    While its hook runs, the GCS and Serve's controller live. After that nothing is left to drain on it.
    """
    group = head(service)
    assert option_seconds(pre_stop(group), "--at-least") > max(drain_seconds(worker) for worker in workers(service))
    assert drain_seconds(group) <= 10


def test_the_kubelet_waits_for_the_hook_and_for_ray(service: Service) -> None:
    """The grace period begins before the hook does, and ends with SIGKILL."""
    for group in groups(service):
        hook = max(option_seconds(pre_stop(group), option) for option in ("--timeout", "--at-least"))
        assert pod(group)["terminationGracePeriodSeconds"] >= hook + drain_seconds(group) + 10


# What the operator refuses, or should.


def test_the_names_are_those_that_the_operator_accepts(service: Service) -> None:
    """A RayService's name is a DNS label of at most 47 characters (utils/validation.go:632, utils/constant.go:378)."""
    assert is_dns_label(service["metadata"]["name"], 47)


def test_every_group_has_a_name_of_its_own(service: Service) -> None:
    """Two groups of one name are accepted by all, and their pods are then counted together."""
    names = [group["groupName"] for group in workers(service)]
    assert len(set(names)) == len(names)
    assert all(is_dns_label(name, 63) for name in names), "each is part of a NetworkPolicy's name"


def test_every_group_says_between_what_numbers_of_pods_it_may_be(service: Service) -> None:
    """Both bounds are needed without an autoscaler (utils/validation.go:125)."""
    for group in workers(service):
        assert 0 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def test_ray_s_cpus_and_memory_are_what_the_limits_say(service: Service) -> None:
    """They are read from the limits where rayStartParams do not say otherwise (common/pod.go:1394)."""
    for group in workers(service):
        assert not {"num-cpus", "memory"} & set(group["rayStartParams"])
        assert {"cpu", "memory"} <= set(ray_container(group)["resources"]["limits"])


def test_what_a_node_has_is_said_in_one_place(service: Service) -> None:
    """Resources in both places, and labels among the parameters, are refused (utils/validation.go:60 and 72)."""
    for group in groups(service):
        given = {"num-cpus", "num-gpus", "memory", "resources"} & set(group["rayStartParams"])
        assert not (given and group.get("resources"))
        assert "labels" not in group["rayStartParams"]


def test_the_upgrade_strategy_is_one_that_there_is(service: Service) -> None:
    """utils/validation.go:694. The third one shifts HTTP traffic step by step, and requests come over NATS."""
    assert service["spec"]["upgradeStrategy"]["type"] in {"NewCluster", "None"}


def test_the_head_s_service_keeps_its_name(service: Service) -> None:
    """utils/validation.go:689."""
    assert "name" not in head(service).get("headService", {}).get("metadata", {})


def test_ray_is_new_enough_for_tokens(service: Service) -> None:
    """utils/validation.go:295. Ray's dashboard, which can run anything, is on the pod's network."""
    assert cluster(service)["authOptions"]["mode"] == "token"
    assert tuple(map(int, cluster(service)["rayVersion"].split("."))) >= (2, 52, 0)


def test_ray_s_container_is_the_first_of_its_pod_and_has_an_image(service: Service) -> None:
    """utils/constant.go:51. A container without an image is accepted by all, and its pod then fails again and again."""
    assert ray_container(head(service))["name"] == "ray-head"
    assert all(ray_container(group)["name"] == "ray-worker" for group in workers(service))
    assert all(container["image"] for container in containers(service))


def test_prometheus_finds_a_port_named_metrics(service: Service) -> None:
    """Else the operator adds one, and the pod is no longer what the manifest says (common/pod.go:289 and 689)."""
    assert all(ports(ray_container(group))["metrics"] == 8080 for group in groups(service))


def test_quantities_are_texts(service: Service) -> None:
    """The operator writes numbers back as texts, which the next server-side apply of a GitOps tool finds changed."""
    for container in containers(service):
        for amounts in container["resources"].values():
            assert {type(amount) for amount in amounts.values()} <= {str}


# Where what is deployed runs.


def test_deployments_run_on_groups_that_there_are(service: Service) -> None:
    """The labels of a group become those of its Ray nodes (common/pod.go:1630).

    Serve also builds an application where the selectors of its deployments say, so where its image has what it imports
    (Ray `serve/_private/application_state.py:1656`).
    """
    names = {group["labels"][GROUP_LABEL] for group in workers(service)}
    assert names == {group["groupName"] for group in workers(service)}
    assert {selected_group(entry) for entry in deployments(service)} <= {*names, ""}
    for application in serve_config(service)["applications"]:
        selectors = {selected_group(entry) for entry in application["deployments"]}
        assert len(selectors) == 1, f"{application['name']} is built on any node"


def test_nothing_of_ours_runs_on_the_head(service: Service) -> None:
    """A deployment that asks for no CPU could, and its pod is the one whose loss is felt most."""
    assert ray_container(head(service))["resources"]["limits"]["cpu"]
    for entry in deployments(service):
        options = entry["ray_actor_options"]
        assert selected_group(entry) != name_of(head(service))
        assert selected_group(entry) or options["num_cpus"] > 0
    assert head(service)["rayStartParams"]["num-cpus"] == "0"


def test_an_accelerator_that_the_operator_does_not_know_is_counted_by_hand(service: Service) -> None:
    """It counts limits whose name ends in "gpu" as GPUs (utils/resources.go:8, common/pod.go:1454)."""
    for group in workers(service):
        devices = [name for name in ray_container(group)["resources"]["limits"] if "/" in name]
        if [name for name in devices if not name.endswith("gpu")]:
            assert group["rayStartParams"]["num-gpus"] == "1"


# Components.


def test_the_autoscaler_passes_the_restricted_standard_and_alone_has_a_token(service: Service) -> None:
    """Its container gets no security context by itself (common/pod.go:985) and asks the Kubernetes API."""
    if not cluster(service).get("enableInTreeAutoscaling"):
        assert "autoscalerOptions" not in cluster(service)
        return
    options = cluster(service)["autoscalerOptions"]
    assert options["securityContext"] == ray_container(head(service))["securityContext"]
    assert options["version"] == "v2"
    place = "/var/run/secrets/kubernetes.io/serviceaccount"
    assert place in {mount["mountPath"] for mount in options["volumeMounts"]}
    assert place not in {mount["mountPath"] for mount in ray_container(head(service))["volumeMounts"]}
    volumes = {volume["name"] for volume in pod(head(service))["volumes"]}
    assert {mount["name"] for mount in options["volumeMounts"]} <= volumes
    # Version 2 replaces pods and does not let their containers restart (utils/validation.go:226).
    assert not [group for group in groups(service) if pod(group).get("restartPolicy", "Never") != "Never"]


def test_the_store_of_the_head_is_said_once(service: Service) -> None:
    """Variables and options of both stores exclude each other (utils/validation.go:153, 166 and 333)."""
    options = cluster(service).get("gcsFaultToleranceOptions", {})
    if options.get("backend") == "rocksdb":
        assert not {key for key in options if key.startswith("redis")}
        assert "gcs-storage" not in {volume["name"] for volume in pod(head(service))["volumes"]}
    else:
        assert "storage" not in options
    assert "ray.io/ft-enabled" not in service["metadata"].get("annotations", {})
    names = set(environment(ray_container(head(service))))
    assert not names & {"RAY_REDIS_ADDRESS", "REDIS_PASSWORD", "REDIS_USERNAME", "RAY_gcs_storage"}


def test_a_closed_network_lets_pods_look_up_names_and_the_operator_ask(service: Service) -> None:
    """The operator opens nothing but the way between pods of one cluster (networkpolicy_controller.go:306 and 374)."""
    policy = cluster(service).get("networkPolicy")
    if policy is None:
        return
    assert policy["mode"] == "DenyAll"
    for side in ("head", "worker"):
        assert {53} <= {port["port"] for rule in policy[side]["egressRules"] for port in rule["ports"]}
        assert {8080} <= {port["port"] for rule in policy[side]["ingressRules"] for port in rule["ports"]}
    assert {8265} <= {port["port"] for rule in policy["head"]["ingressRules"] for port in rule["ports"]}
    assert {4222, 19530} <= {port["port"] for rule in policy["worker"]["egressRules"] for port in rule["ports"]}
    open_to_the_namespace = {
        port["port"]
        for rule in policy["worker"]["ingressRules"]
        if {"podSelector": {}} in rule["from"]
        for port in rule["ports"]
    }
    assert {ports(ray_container(group))[name] for group in workers(service) for name in ("metrics", "health")} == (
        open_to_the_namespace
    ), "the ports of the old names"
    assert "workerGroups" not in policy, "an entry there replaces the rules of all workers"
