{{/*
The pod of a service: (dict "root" $ "name" "gateway" "grace" 30, and as YAML: "env", "mounts", "volumes").
*/}}
{{- define "kfops.pod" -}}
{{- $root := .root -}}
{{- $values := .root.Values -}}
{{- $service := get (include "kfops.services" .root | fromYaml) .name -}}
{{- $own := get $values $service.key -}}
{{- $authorities := include "kfops.authorities" .root -}}
{{- $mesh := $values.istio.enabled -}}
metadata:
  labels:
    {{- with $values.pods.labels }}{{ toYaml . | nindent 4 }}{{ end }}
    {{- include "kfops.selector" .name | nindent 4 }}
    {{- if $mesh }}
    sidecar.istio.io/inject: "true"
    {{- end }}
  annotations:
    {{- with $values.pods.annotations }}{{ toYaml . | nindent 4 }}{{ end }}
    # What is read at the start only: when it changes, the pods do.
    kfops.dev/settings: {{ include "kfops.settings" (dict "root" .root "name" .name) | sha256sum | trunc 16 }}
    {{- $secrets := has .name (list "gateway" "scm-bot") | ternary ($values.github | toJson) "" }}
    kfops.dev/secrets: {{ print $secrets $values.caBundle | sha256sum | trunc 16 }}
    {{- if $mesh }}
    proxy.istio.io/config: '{"holdApplicationUntilProxyStarts": true}'
    {{- end }}
spec:
  serviceAccountName: kfops-{{ .name }}
  automountServiceAccountToken: true
  # Kubernetes would set KFOPS_..._SERVICE_HOST, which the service would take for settings of its own.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ .grace }}
  {{- with $values.images.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- with $values.pods.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $values.pods.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.pods.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.pods.affinity }}
  affinity: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if .spread }}
  topologySpreadConstraints:
    {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels: {{- include "kfops.selector" $.name | nindent 10 }}
      matchLabelKeys: [pod-template-hash]
    {{- end }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile: {type: RuntimeDefault}
  containers:
    - name: {{ .name }}
      image: {{ include "kfops.image" (dict "root" .root "name" .name) | quote }}
      imagePullPolicy: {{ $values.images.pullPolicy }}
      args: [--settings, /etc/kfops/{{ .name }}.yaml]
      {{- if or .env $authorities }}
      env:
        {{- with .env }}{{ . | nindent 8 }}{{ end }}
        {{- if $authorities }}
        # Both are read: the image's own, and these.
        - {name: SSL_CERT_FILE, value: /etc/ssl/certs/ca-certificates.crt}
        - {name: SSL_CERT_DIR, value: /etc/kfops/authorities}
        {{- end }}
      {{- end }}
      ports:
        - {name: serve, containerPort: {{ $service.port }}}
        - {name: metrics, containerPort: {{ include "kfops.metricsPort" . }}}
      {{- if $service.grpc }}
      startupProbe: {grpc: {port: {{ $service.port }}}, periodSeconds: 2, failureThreshold: 60}
      livenessProbe: {grpc: {port: {{ $service.port }}}, periodSeconds: 20, timeoutSeconds: 5, failureThreshold: 6}
      readinessProbe: {grpc: {port: {{ $service.port }}}, periodSeconds: 5, timeoutSeconds: 3, failureThreshold: 2}
      {{- else }}
      startupProbe: {httpGet: {path: /healthz, port: serve}, periodSeconds: 2, failureThreshold: 60}
      livenessProbe: {httpGet: {path: /healthz, port: serve}, periodSeconds: 20, timeoutSeconds: 5, failureThreshold: 6}
      # Ready is what reaches scm-bot: a webhook is answered once that has stored it.
      readinessProbe: {httpGet: {path: /readyz, port: serve}, periodSeconds: 5, timeoutSeconds: 5, failureThreshold: 2}
      {{- end }}
      lifecycle:
        # Until everybody knows that this pod goes, it answers.
        preStop: {sleep: {seconds: 5}}
      resources: {{- toYaml $own.resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
      volumeMounts:
        - {name: settings, mountPath: /etc/kfops/{{ .name }}.yaml, subPath: {{ .name }}.yaml, readOnly: true}
        - {name: tmp, mountPath: /tmp}
        {{- if and $service.grpc (include "kfops.storeSecret" .root) }}
        - {name: store, mountPath: /etc/kfops/store, readOnly: true}
        {{- end }}
        {{- if $authorities }}
        - {name: authorities, mountPath: /etc/kfops/authorities, readOnly: true}
        {{- end }}
        {{- with .mounts }}{{ . | nindent 8 }}{{ end }}
  volumes:
    - name: settings
      configMap: {name: kfops-{{ .name }}}
    - name: tmp
      emptyDir: {sizeLimit: 1Gi}
    {{- if and $service.grpc (include "kfops.storeSecret" .root) }}
    - name: store
      secret:
        secretName: {{ include "kfops.storeSecret" .root }}
        defaultMode: 0440
        items: [{key: access-key-id, path: access-key-id}, {key: secret-access-key, path: secret-access-key}]
    {{- end }}
    {{- if $authorities }}
    - name: authorities
      configMap:
        name: {{ $authorities }}
        items: [{key: ca.crt, path: ca.crt}]
    {{- end }}
    {{- with .volumes }}{{ . | nindent 4 }}{{ end }}
{{- end }}

{{/* The claim of a service that keeps state, and how its pod has it. */}}
{{- define "kfops.claim" -}}
{{- $service := get (include "kfops.services" .root | fromYaml) .name -}}
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: kfops-{{ .name }}
  namespace: {{ $.root.Release.Namespace }}
  labels: {{- include "kfops.labels" .root | nindent 4 }}
  annotations:
    # Work under way and what was done: it stays when Kfops goes.
    helm.sh/resource-policy: keep
spec:
  accessModes: [{{ .root.Values.storage.accessMode }}]
  {{- with .root.Values.storage.class }}
  storageClassName: {{ . }}
  {{- end }}
  resources:
    requests:
      storage: {{ (get .root.Values $service.key).disk }}
{{- end }}
{{- define "kfops.claim.mount" }}
- {name: state, mountPath: /var/lib/kfops}
{{- end }}
{{- define "kfops.claim.volume" }}
- name: state
  persistentVolumeClaim: {claimName: kfops-{{ . }}}
{{- end }}

{{/* The Service in front of a service's pods. */}}
{{- define "kfops.service" -}}
{{- $service := get (include "kfops.services" .root | fromYaml) .name -}}
apiVersion: v1
kind: Service
metadata:
  name: kfops-{{ .name }}
  namespace: {{ $.root.Release.Namespace }}
  labels:
    {{- include "kfops.labels" .root | nindent 4 }}
    app.kubernetes.io/name: kfops-{{ .name }}
spec:
  selector: {{- include "kfops.selector" .name | nindent 4 }}
  ports:
    # HTTP/2 between the sidecars and to the service, for gRPC; the gateway's REST comes over it too.
    - {name: {{ $service.grpc | ternary "grpc" "http2" }}, port: {{ $service.port }}, targetPort: serve}
    - {name: http-metrics, port: {{ include "kfops.metricsPort" . }}, targetPort: metrics}
{{- end }}
