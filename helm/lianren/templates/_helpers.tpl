{{- define "lianren.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" -}}
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

{{/* The fewest replicas that the release runs with. */}}
{{- define "lianren.minReplicas" -}}
{{- ternary .Values.autoscaling.minReplicas .Values.replicas .Values.autoscaling.enabled | int -}}
{{- end -}}

{{/* What values.schema.json can't say: rules over more than one value. */}}
{{- define "lianren.check" -}}
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
