"""Who asks, and what they may: nothing in single-user mode; a header or a token in multi-user mode."""

import json
import os
import ssl
import urllib.request

from .problems import grpc, upload

AUDIENCE = "pipelines.kubeflow.org"
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


class Identity:
    """`tokens`: token -> {"user", "audiences"}; `rights`: user -> namespaces. Tokens that are not known are reviewed by
    Kubernetes where `review` is on, and their rights too."""

    def __init__(self, multi_user, tokens, rights, review):
        self.multi_user, self.tokens, self.rights, self.review = multi_user, tokens, rights, review

    def user(self, headers):
        """The caller's name; raises 401's inner text when there is none."""
        named = headers.get("kubeflow-userid")
        if named:
            return named, ""
        none = "Unauthenticated: Request header error: there is no user identity header.: Request header error: there is no user identity header."
        bearer = headers.get("authorization") or ""
        if not bearer.startswith("Bearer "):
            return None, none
        token = bearer.removeprefix("Bearer ")
        known = self.tokens.get(token)
        if known is None and self.review:
            known = self.reviewed(token)
        if known is not None and AUDIENCE in known["audiences"]:
            return known["user"], ""
        audiences = json.dumps((known or {}).get("audiences", []))
        said = f'invalid bearer token, token audiences {audiences} is invalid for the target audiences ["{AUDIENCE}"]'
        inner = f"Authentication failure: Unauthenticated: Review.Status.Authenticated is false. Error [{said}]: Failed to authenticate token review"
        return None, f"[{none}, {inner}]"

    def authorize(self, headers, namespace, verb, resource, name, before, empty):
        """Raises unless the caller may."""
        if not self.multi_user:
            return
        if not namespace:
            raise grpc(3, f"{before}: Invalid input error: {empty}", empty)
        user, inner = self.user(headers)
        if user is None:
            detail = "Failed to check authorization. User identity is empty in the request header"
            message = f"{before}: Failed to authorize with API: Failed to authorize with API: Unauthenticated: {detail}: {inner}"
            raise grpc(16, message, detail)
        if not self.may(user, namespace, verb, resource):
            request = f"&ResourceAttributes{{Namespace:{namespace},Verb:{verb},Group:pipelines.kubeflow.org,Version:v1beta1,Resource:{resource},Subresource:,Name:{name},FieldSelector:nil,LabelSelector:nil,}}"
            detail = f"User '{user}' is not authorized with reason:  (request: {request})"
            message = f"{before}: Failed to authorize with API: PermissionDenied: {detail}: Unauthorized access"
            raise grpc(7, message, detail)

    def authorize_upload(self, headers, namespace, message):
        """Uploads say 400 and nothing more. Shared pipelines are everybody's."""
        if not self.multi_user or not namespace:
            return
        user, _ = self.user(headers)
        if user is None or not self.may(user, namespace, "create", "pipelines"):
            raise upload(400, message, plain=True)

    def may(self, user, namespace, verb, resource):
        if namespace in self.rights.get(user, []):
            return True
        if not self.review:
            return False
        attributes = {"namespace": namespace, "verb": verb, "group": "pipelines.kubeflow.org", "version": "v1beta1", "resource": resource}
        spec = {"user": user, "resourceAttributes": attributes}
        return bool(self.ask("authorization.k8s.io/v1", "SubjectAccessReview", spec).get("allowed"))

    def reviewed(self, token):
        status = self.ask("authentication.k8s.io/v1", "TokenReview", {"token": token, "audiences": [AUDIENCE]})
        if not status.get("authenticated"):
            return None
        return {"user": status["user"]["username"], "audiences": status.get("audiences", [])}

    @staticmethod
    def ask(version, kind, spec):
        """One review by the Kubernetes API, with this pod's account."""
        host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
        with open(f"{ACCOUNT}/token", encoding="utf-8") as file:
            headers = {"authorization": f"Bearer {file.read().strip()}", "content-type": "application/json"}
        body = json.dumps({"apiVersion": version, "kind": kind, "spec": spec}).encode()
        url = f"https://{host}:{port}/apis/{version}/{kind.lower()}s"
        context = ssl.create_default_context(cafile=f"{ACCOUNT}/ca.crt")
        request = urllib.request.Request(url, data=body, headers=headers, method="POST")
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:
            return json.load(answer).get("status", {})
