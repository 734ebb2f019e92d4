{{/* A name has 63 characters at most, and the longest ending has eleven of them: -operations. */}}
{{- define "lianren.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "lianren.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "lianren.labels" -}}
{{ include "lianren.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "lianren.metadata" -}}
name: {{ include "lianren.fullname" . }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "lianren.labels" . | nindent 2 }}
{{- end -}}

{{/*
The settings: those of `config`, and what follows from other values. A migration that a job does is not done by
every pod again; behind nginx the gateway listens on a socket, and takes client certificates from a header.
*/}}
{{- define "lianren.config" -}}
{{- $follows := dict -}}
{{- if and (eq .Values.store.kind "postgresql") .Values.migrations.enabled -}}
{{- $_ := set $follows "migrate" false -}}
{{- end -}}
{{- if .Values.nginx.enabled -}}
{{- $_ := set $follows "uds" "/run/lianren/gateway.sock" -}}
{{- $_ := set $follows "client_certificate_header" "X-Client-Certificate" -}}
{{- if .Values.nginx.offload.archives -}}
{{- $_ := set $follows "offload" "/archives" -}}
{{- end -}}
{{- end -}}
{{- if .Values.nodes.existingSecret -}}
{{- $_ := set $follows "node_files" "/etc/lianren/nodes" -}}
{{- end -}}
{{- merge (deepCopy .Values.config) $follows | toRawJson -}}
{{- end -}}

{{- define "lianren.image" -}}
{{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) | quote }}
{{- end -}}

{{- define "lianren.pullSecrets" -}}
{{- with .Values.image.pullSecrets -}}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end -}}
{{- end -}}

{{- define "lianren.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "lianren.containerSecurity" -}}
readOnlyRootFilesystem: true
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "lianren.placement" -}}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "lianren.storeEnv" -}}
- name: LIANREN_STORE
  valueFrom:
    secretKeyRef:
      name: {{ .Values.store.existingSecret }}
      key: {{ .Values.store.key }}
{{- end -}}

{{/* The address of a DICOMweb node of config.nodes, by its id. */}}
{{- define "lianren.nodeUrl" -}}
{{- $root := index . 0 -}}
{{- $id := index . 1 -}}
{{- $found := "" -}}
{{- range $root.Values.config.nodes -}}
{{- if and (eq .id $id) (eq .kind "dicomweb") -}}
{{- $found = .url -}}
{{- end -}}
{{- end -}}
{{- if not $found -}}
{{- fail (printf "nginx.offload.archives names %s, which is no node of kind dicomweb in config.nodes" $id) -}}
{{- end -}}
{{- trimSuffix "/" $found -}}
{{- end -}}

{{/* The fewest replicas that the release runs with. */}}
{{- define "lianren.minReplicas" -}}
{{- ternary .Values.autoscaling.minReplicas .Values.replicas .Values.autoscaling.enabled | int -}}
{{- end -}}

{{/* What values.schema.json can't say: rules over more than one value. */}}
{{- define "lianren.check" -}}
{{- if lt (int .Values.terminationGracePeriodSeconds) (add 10 (.Values.config.drain_s | default 20 | int) | int) -}}
{{- fail "terminationGracePeriodSeconds must be ten more than config.drain_s: five before the stop signal, five to write down what is left." -}}
{{- end -}}
{{- if and .Values.nginx.enabled .Values.ingress.enabled -}}
{{- fail "nginx.enabled and ingress.enabled are both true: mutual TLS would end at the ingress. Publish the Service itself, or pass TLS through." -}}
{{- end -}}
{{- if eq .Values.store.kind "embedded" -}}
{{- if or (gt (int .Values.replicas) 1) .Values.autoscaling.enabled -}}
{{- fail "store.kind is embedded, so replicas must be 1 and autoscaling off: SQLite belongs to one process. For more replicas set store.kind to postgresql." -}}
{{- end -}}
{{- else -}}
{{- if not .Values.store.existingSecret -}}
{{- fail "store.kind is postgresql, so store.existingSecret must name the Secret that holds the DSN." -}}
{{- end -}}
{{- if not .Values.keys.existingSecret -}}
{{- fail "store.kind is postgresql, so keys.existingSecret must name the Secret that holds the key files: without it every pod would sign with keys of its own and lose them when it ends." -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
TOML of a map. Not toToml: Helm reads every number as a float, so toToml writes port = 8080.0. JSON writes
8080, and its strings, numbers and booleans are TOML's too. Nested maps and lists are written inline, each
map of a list on its own line.
*/}}
{{- define "lianren.toml" -}}
{{- range $key, $value := . }}
{{ regexMatch "^[A-Za-z0-9_-]+$" $key | ternary $key (toRawJson $key) }} = {{ include "lianren.tomlValue" $value }}
{{- end }}
{{- end -}}

{{- define "lianren.tomlValue" -}}
{{- $parts := list -}}
{{- if kindIs "map" . -}}
{{- range $key, $value := . -}}
{{- $parts = append $parts (include "lianren.toml" (dict $key $value) | trim) -}}
{{- end -}}
{ {{- join ", " $parts -}} }
{{- else if kindIs "slice" . -}}
{{- range . -}}
{{- $parts = append $parts (include "lianren.tomlValue" .) -}}
{{- end -}}
[ {{- join (kindIs "map" (first .) | ternary ",\n  " ", ") $parts -}} ]
{{- else -}}
{{ toRawJson . }}
{{- end -}}
{{- end -}}
