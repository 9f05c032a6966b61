# Enforces NetworkPolicies on the node by iptables, as a network plugin of production does: what no policy selects stays open, what
# one selects gets only what a policy allows; answers pass, and so does what the node itself sends (probes). Looks twice a second.
# Arguments: files of the authority, a client certificate and its key, and the API server's address.
import ipaddress
import json
import ssl
import subprocess
import sys
import time
import urllib.request

ROOT = "KFOPS-POLICIES"


def matches(selector, labels):
    """Whether labels satisfy a label selector; an empty one selects everything."""
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for need in selector.get("matchExpressions", []):
        value, operator = labels.get(need["key"]), need["operator"]
        if operator == "In" and value not in need["values"]:
            return False
        if operator == "NotIn" and value in need["values"]:
            return False
        if operator == "Exists" and value is None:
            return False
        if operator == "DoesNotExist" and value is not None:
            return False
    return True


def peers(peer, namespace, pods, namespaces):
    """The networks of one entry of `from` or `to`: [(network, pod or None)]."""
    if "ipBlock" in peer:
        block = peer["ipBlock"]
        networks = [ipaddress.ip_network(block["cidr"], strict=False)]
        for exception in block.get("except", []):
            hole = ipaddress.ip_network(exception, strict=False)
            networks = [rest for network in networks for rest in (network.address_exclude(hole) if hole.subnet_of(network) else [network])]
        return [(str(network), None) for network in networks if network.version == 4]
    found = []
    for pod in pods:
        if "namespaceSelector" in peer:
            if not matches(peer["namespaceSelector"], namespaces.get(pod["namespace"], {})):
                continue
        elif pod["namespace"] != namespace:
            continue
        if matches(peer.get("podSelector", {}), pod["labels"]):
            found.append((pod["ip"], pod))
    return found


def port_matches(ports, destination):
    """iptables' words for the ports of a rule; none when a named port is not known at the destination."""
    if not ports:
        return [[]]
    words = []
    for entry in ports:
        protocol = entry.get("protocol", "TCP")
        port = entry.get("port")
        if isinstance(port, str):
            port = destination["ports"].get((port, protocol)) if destination else None
            if port is None:
                continue
        word = ["-p", protocol.lower()]
        if port is not None:
            word += ["--dport", f"{port}:{entry['endPort']}" if "endPort" in entry else str(port)]
        words.append(word)
    return words


def allowed(pod, policies, direction, pods, namespaces):
    """iptables' words for all that policies allow a pod in a direction, or None when no policy selects it there."""
    selecting = [
        p for p in policies
        if p["metadata"]["namespace"] == pod["namespace"]
        and direction in p["spec"].get("policyTypes", ["Ingress"])
        and matches(p["spec"].get("podSelector", {}), pod["labels"])
    ]
    if not selecting:
        return None
    inbound = direction == "Ingress"
    words = []
    for policy in selecting:
        for rule in policy["spec"].get(direction.lower()) or []:
            entries = rule.get("from" if inbound else "to")
            networks = [("0.0.0.0/0", None)] if not entries else [
                network for entry in entries for network in peers(entry, pod["namespace"], pods, namespaces)
            ]
            for network, other in networks:
                for ports in port_matches(rule.get("ports"), pod if inbound else other):
                    words.append(" ".join(["-s" if inbound else "-d", network] + ports))
    return words


def chains(policies, pods, namespaces):
    """The filter table's rules: {chain: [rule]}; rules of one pod and direction are a chain."""
    rules = {ROOT: ["-m conntrack --ctstate ESTABLISHED,RELATED -j RETURN"]}
    for pod in pods:
        for direction, side in ("Egress", "-s"), ("Ingress", "-d"):
            words = allowed(pod, policies, direction, pods, namespaces)
            if words is None:
                continue
            chain = f"KFOPS-{direction[:2].upper()}-{pod['ip']}"
            rules[ROOT].append(f"{side} {pod['ip']} -j {chain}")
            rules[chain] = [f"{word} -j RETURN" for word in words]
            rules[chain].append("-j DROP")
    return rules


def install(rules, before):
    """Replaces the chains in one transaction, and sees to it that they are asked first."""
    lines = ["*filter"] + [f":{chain} - [0:0]" for chain in rules | dict.fromkeys(before)]
    lines += [f"-A {chain} {rule}" for chain, list_ in rules.items() for rule in list_]
    lines += [f"-X {chain}" for chain in before if chain not in rules] + ["COMMIT", ""]
    subprocess.run(["iptables-restore", "--noflush", "--wait"], input="\n".join(lines), text=True, check=True)
    for chain in "FORWARD", "INPUT":
        jump = [chain, "-j", ROOT]
        if subprocess.run(["iptables", "--wait", "-C", *jump], capture_output=True).returncode:
            subprocess.run(["iptables", "--wait", "-I", *jump], check=True)


def main():
    authority, certificate, key, api = sys.argv[1:]
    context = ssl.create_default_context(cafile=authority)
    context.load_cert_chain(certificate, key)

    def items(path):
        with urllib.request.urlopen(api + path, context=context, timeout=10) as answer:
            return json.load(answer)["items"]

    before = None
    while True:
        try:
            policies = items("/apis/networking.k8s.io/v1/networkpolicies")
            namespaces = {n["metadata"]["name"]: n["metadata"].get("labels", {}) for n in items("/api/v1/namespaces")}
            pods = [
                {
                    "namespace": pod["metadata"]["namespace"],
                    "labels": pod["metadata"].get("labels", {}),
                    "ip": pod["status"]["podIP"],
                    "ports": {
                        (port.get("name"), port.get("protocol", "TCP")): port["containerPort"]
                        for container in pod["spec"]["containers"] + pod["spec"].get("initContainers", [])
                        for port in container.get("ports", [])
                    },
                }
                for pod in items("/api/v1/pods")
                if pod["status"].get("podIP") and not pod["spec"].get("hostNetwork")
                and pod["status"].get("phase") in ("Pending", "Running")
            ]
            rules = chains(policies, sorted(pods, key=lambda pod: pod["ip"]), namespaces)
            if rules != before:
                install(rules, before or {})
                print(f"{len(policies)} policies, {len(rules) - 1} chains", flush=True)
                before = rules
        except Exception as error:  # whatever it is, the next look may go well: nobody restarts this
            print(f"not done: {error}", flush=True)
        time.sleep(0.5)


main()
