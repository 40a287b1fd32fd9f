package artifacts

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/yaml"
)

// kubernetes are the versions that the chart is rendered for: the oldest that
// it supports, and a recent one. Without it, helm would assume 1.20.
var kubernetes = []string{"1.25", "1.34"}

const chart = "helm/vpcprobe"

// template renders the chart.
func template(t testing.TB, args ...string) (string, error) {
	t.Helper()
	return output(t, root, "helm", slices.Concat([]string{"template", "release", chart, "--namespace", "monitoring", "--kube-version", kubernetes[1]}, args)...)
}

// rendered renders the chart, which has to succeed, and decodes it.
func rendered(t testing.TB, args ...string) []object {
	t.Helper()
	out, err := template(t, args...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return decode(t, out)
}

// one returns the only object of its type.
func one[T object](t testing.TB, objects []object) T {
	t.Helper()
	var found []T
	for _, o := range objects {
		if o, ok := o.(T); ok {
			found = append(found, o)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d objects of type %T, want 1", len(found), *new(T))
	}
	return found[0]
}

func valuesFiles(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob(at(chart + "/ci/*-values.yaml"))
	if err != nil || len(files) < 5 {
		t.Fatalf("%v %v", files, err)
	}
	return files
}

func TestChartLint(t *testing.T) {
	t.Parallel()
	tool(t, "helm")
	for _, f := range valuesFiles(t) {
		must(t, root, "helm", "lint", "--strict", chart, "--values", f)
	}
}

// Each set of values gives manifests that Kubernetes takes and that fit
// together, with commands and a configuration that the agent takes.
func TestChartMatrix(t *testing.T) {
	t.Parallel()
	tool(t, "helm")
	for _, f := range valuesFiles(t) {
		for _, version := range kubernetes {
			t.Run(filepath.Base(f)+"/"+version, func(t *testing.T) {
				t.Parallel()
				objects := rendered(t, "--values", f, "--kube-version", version)
				sound(t, objects)
				configured(t, objects)
				violations := restricted(t, objects)
				if strings.Contains(f, "daemonset") { // hostNetwork is what its values ask for
					for _, v := range violations {
						if !strings.HasSuffix(v, ": host namespaces (hostNetwork=true), hostPort (container \"vpcprobe\" uses hostPort 9643)") && !strings.Contains(v, "hostNetwork=true") {
							t.Error(v)
						}
					}
					return
				}
				if len(violations) > 0 {
					t.Errorf("not restricted: %v", violations)
				}
			})
		}
	}
}

// The values of the matrix use every value there is.
func TestChartMatrixIsComplete(t *testing.T) {
	t.Parallel()
	used := map[string]bool{}
	files := valuesFiles(t)
	more, _ := filepath.Glob("testdata/*/values.yaml")
	for _, f := range append(files, more...) {
		var values map[string]any
		if err := yaml.Unmarshal([]byte(read(t, f)), &values); err != nil {
			t.Fatal(err)
		}
		if sub, ok := values["vpcprobe"].(map[string]any); ok {
			values = sub
		}
		for k, v := range values {
			used[k] = true
			if below, ok := v.(map[string]any); ok {
				for k2 := range below {
					used[k+"."+k2] = true
				}
			}
		}
	}
	defaults := []string{
		"image.registry", "image.repository", "image.tag", "resources", "podSecurityContext", "securityContext",
		"terminationGracePeriodSeconds", "config.every", // left as they are by most
		"serviceMonitor.interval", "podMonitor.interval", "podMonitor.nativeHistograms", "prometheusRule.labels", "dashboard.labels",
		"networkPolicy.credentials", "podDisruptionBudget.create", "sidecar.native", "podMonitor.labels",
	}
	for _, v := range chartValues(t) {
		if v.Doc != "" && !used[v.Key] && !slices.Contains(defaults, v.Key) {
			t.Errorf("no values in helm/vpcprobe/ci or testdata use %s", v.Key)
		}
	}
}

func TestChartModes(t *testing.T) {
	t.Parallel()
	tool(t, "helm")
	values := func(mode string) []string {
		return []string{"--values", at(chart + "/ci/deployment-values.yaml"), "--set", "mode=" + mode}
	}

	d := one[*appsv1.Deployment](t, rendered(t, values("deployment")...))
	spread := d.Spec.Template.Spec.TopologySpreadConstraints
	if len(spread) != 1 || spread[0].TopologyKey != "topology.kubernetes.io/zone" || !selects(t, spread[0].LabelSelector, d.Spec.Template.Labels) {
		t.Errorf("the deployment is not spread over zones: %+v", spread)
	}

	zones := map[string]bool{}
	for _, o := range rendered(t, append(values("deploymentPerZone"), "--set", "zones={eu-west-1a,eu-west-1b}")...) {
		if d, ok := o.(*appsv1.Deployment); ok {
			zone := d.Spec.Template.Spec.NodeSelector["topology.kubernetes.io/zone"]
			zones[zone] = true
			if *d.Spec.Replicas != 1 || d.Spec.Selector.MatchLabels["vpcprobe/zone"] != zone {
				t.Errorf("%s: %d replicas, selector %v", zone, *d.Spec.Replicas, d.Spec.Selector)
			}
		}
	}
	if len(zones) != 2 || !zones["eu-west-1a"] || !zones["eu-west-1b"] {
		t.Errorf("zones: %v", zones)
	}

	s := one[*appsv1.StatefulSet](t, rendered(t, append(values("statefulset"), "--set", "replicas=3")...))
	if args := s.Spec.Template.Spec.Containers[0].Args; !slices.Contains(args, "--shard=$(POD_NAME)/3") {
		t.Errorf("args: %q", args)
	}
	if s.Spec.ServiceName != s.Name+"-peers" {
		t.Errorf("the service of the set is %q", s.Spec.ServiceName)
	}

	one[*appsv1.DaemonSet](t, rendered(t, values("daemonset")...))
	for _, o := range rendered(t, values("none")...) {
		if _, ok := o.(*corev1.ConfigMap); !ok {
			t.Errorf("mode none renders %T", o)
		}
	}
}

// Helm's own reading of YAML does not change what the agent reads.
func TestChartKeepsTheConfiguration(t *testing.T) {
	t.Parallel()
	tool(t, "helm")
	objects := rendered(t, "--values", at(chart+"/ci/statefulset-values.yaml"))
	text := one[*corev1.ConfigMap](t, objects).Data["vpcprobe.yaml"]
	for _, want := range []string{`api: "12345678e1"`, "{{ not a template }}", "${env:TENANT}"} {
		if !strings.Contains(text, want) {
			t.Errorf("the configuration lacks %s:\n%s", want, text)
		}
	}
}

func TestChartDetails(t *testing.T) {
	t.Parallel()
	tool(t, "helm")
	sharded := rendered(t, "--values", at(chart+"/ci/statefulset-values.yaml"))
	spec := one[*appsv1.StatefulSet](t, sharded).Spec.Template.Spec
	if *spec.AutomountServiceAccountToken || *spec.EnableServiceLinks {
		t.Error("the pod gets a token or the variables of services")
	}
	for _, v := range spec.Volumes {
		if v.Secret != nil && *v.Secret.DefaultMode != 0o440 {
			t.Errorf("%s: mode %o", v.Name, *v.Secret.DefaultMode)
		}
	}
	if got := one[*corev1.ServiceAccount](t, sharded).Annotations["eks.amazonaws.com/role-arn"]; got != "arn:aws:iam::111122223333:role/vpcprobe" {
		t.Errorf("role: %q", got)
	}
	if one[*policyv1.PodDisruptionBudget](t, sharded).Spec.MaxUnavailable.IntVal != 1 {
		t.Error("an eviction may take more than one")
	}
	egress := one[*networkingv1.NetworkPolicy](t, sharded).Spec.Egress
	if len(egress) != 5 {
		t.Fatalf("%d egress rules, want names, endpoint, credentials, STS and the further one", len(egress))
	}
	if got := fmt.Sprintln(len(egress[0].To), len(egress[1].Ports), len(egress[1].To), len(egress[2].To), egress[3].To[0].IPBlock.CIDR); got != "1 4 2 5 10.0.3.0/24\n" {
		t.Errorf("egress: %s", got)
	}
	for _, o := range sharded {
		if p, ok := o.(*corev1.Pod); ok && (p.Annotations["helm.sh/hook"] != "test" || p.Spec.Containers[0].Args[0] != "check") {
			t.Errorf("the test: %v %v", p.Annotations, p.Spec.Containers[0].Args)
		}
	}

	everything := rendered(t, "--values", at(chart+"/ci/everything-values.yaml"))
	d := one[*appsv1.Deployment](t, everything)
	c := d.Spec.Template.Spec.Containers[0]
	if want := "111122223333.dkr.ecr.eu-west-1.amazonaws.com/vpcprobe/vpcprobe@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"; c.Image != want {
		t.Errorf("image: %s", c.Image)
	}
	if got := strings.Join(c.ReadinessProbe.Exec.Command, " "); got != "/vpcprobe health --address=127.0.0.1:9701 --require=orders" {
		t.Errorf("readiness: %s", got)
	}
	if got := strings.Join(c.LivenessProbe.Exec.Command, " "); got != "/vpcprobe health --address=127.0.0.1:9701" {
		t.Errorf("liveness follows the targets: %s", got)
	}
	if one[*corev1.Service](t, everything).Spec.Ports[0].Port != 80 {
		t.Error("the service's port")
	}
}

// What the chart refuses, and that it says why.
func TestChartRefuses(t *testing.T) {
	t.Parallel()
	tool(t, "helm")
	one := `{"config":{"targets":[{"name":"orders","api":"a1b2c3d4e5","region":"eu-west-1","stage":"prod"}]},%s}`
	target := `{"config":{"targets":[{"name":"orders","region":"eu-west-1",%s}]}}`
	for name, c := range map[string]struct{ values, says string }{
		"a misspelled key":             {fmt.Sprintf(one, `"replcas":3`), "'replcas' not allowed"},
		"a misspelled key below":       {fmt.Sprintf(one, `"image":{"tga":"1"}`), "'tga' not allowed"},
		"a word for a number":          {fmt.Sprintf(one, `"replicas":"abc"`), "got string, want integer"},
		"an unknown mode":              {fmt.Sprintf(one, `"mode":"replicaset"`), "value must be one of 'deployment', 'deploymentPerZone', 'daemonset', 'statefulset', 'none'"},
		"an annotation that is a bool": {fmt.Sprintf(one, `"podAnnotations":{"prometheus.io/scrape":true}`), "got boolean, want string"},
		"a port below 1024":            {fmt.Sprintf(one, `"port":443`), "minimum: got 443, want 1,024"},
		"a digest that is none":        {fmt.Sprintf(one, `"image":{"digest":"latest"}`), "does not match pattern"},
		"a range that is an address":   {fmt.Sprintf(one, `"networkPolicy":{"create":true,"endpointCIDRs":["10.0.0.1"]}`), "does not match pattern"},
		"an id without quotes":         {fmt.Sprintf(target, `"stage":"prod","api":0123456701`), "got number, want null or string"},
		"an id in exponents":           {fmt.Sprintf(target, `"stage":"prod","api":12345678e1`), "got number, want null or string"},
		"a stage without quotes":       {fmt.Sprintf(target, `"api":"a1b2c3d4e5","stage":1`), "got number, want null or string"},
		"a header without quotes":      {fmt.Sprintf(target, `"api":"a1b2c3d4e5","headers":[{"name":"X-Account","value":012345678901}]`), "want null or string"},
		"a header that YAML says yes":  {fmt.Sprintf(target, `"api":"a1b2c3d4e5","headers":[{"name":"X-Probe","value":yes}]`), "want null or string"},
		"a duration without a unit":    {`{"config":{"every":15,"targets":[{"name":"a","api":"a1b2c3d4e5","region":"eu-west-1"}]}}`, "/config/every"},
		"an unknown key of the agent":  {fmt.Sprintf(target, `"api":"a1b2c3d4e5","stag":"prod"`), "'stag' not allowed"},
		"an unknown finding":           {fmt.Sprintf(target, `"api":"a1b2c3d4e5","expect":{"finding":"no-such-thing"}`), "/expect/finding"},
		"an unknown kind of probe":     {fmt.Sprintf(target, `"api":"a1b2c3d4e5","pace":{"ping":"1s"}`), "'ping' not allowed"},
		"a target without a region":    {`{"config":{"targets":[{"name":"a","api":"a1b2c3d4e5"}]}}`, "missing property 'region'"},
		"no targets":                   {`{}`, "config.targets is empty"},
		"two places":                   {`{"existingConfigMap":"a","existingSecret":"b"}`, "the configuration has one place"},
		"zones without any":            {fmt.Sprintf(one, `"mode":"deploymentPerZone"`), "needs zones"},
		"readiness by another's share": {fmt.Sprintf(one, `"mode":"statefulset","readiness":{"require":["orders"]}`), "readiness.require needs a mode in which every agent has every target"},
		"waiting that is not native":   {fmt.Sprintf(one, `"mode":"none","sidecar":{"await":["orders"],"native":false}`), "sidecar.await needs sidecar.native"},
		"a policy that drops probes":   {fmt.Sprintf(one, `"networkPolicy":{"create":true}`), "would drop every probe"},
		"a policy without effect":      {fmt.Sprintf(one, `"hostNetwork":true,"networkPolicy":{"create":true,"endpointCIDRs":["10.0.0.0/8"]}`), "does not apply"},
		"histograms that are not made": {fmt.Sprintf(one, `"podMonitor":{"create":true,"nativeHistograms":true}`), "needs config.metrics.native_histograms"},
		"a monitor without a service":  {fmt.Sprintf(one, `"service":{"create":false},"serviceMonitor":{"create":true}`), "needs service.create"},
		"an alert that is none":        {fmt.Sprintf(one, `"prometheusRule":{"create":true,"disabled":["NoSuchAlert"]}`), "there is no alert NoSuchAlert"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "values.yaml")
			write(t, file, c.values)
			out, err := template(t, "--values", file)
			if err == nil {
				t.Fatalf("accepted:\n%s", out)
			}
			if !strings.Contains(out, c.says) {
				t.Errorf("does not say %q:\n%s", c.says, out)
			}
		})
	}
}

// A chart of an application includes the sidecar.
func TestChartSidecar(t *testing.T) {
	t.Parallel()
	tool(t, "helm")
	consumer := t.TempDir()
	if err := os.CopyFS(consumer, os.DirFS("testdata/consumer")); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(consumer, "charts/vpcprobe"), os.DirFS(at(chart))); err != nil {
		t.Fatal(err)
	}
	render := func(args ...string) *corev1.PodTemplateSpec {
		out := must(t, consumer, "helm", append([]string{"template", "shop", ".", "--kube-version", kubernetes[1]}, args...)...)
		objects := decode(t, out)
		sound(t, objects)
		configured(t, objects)
		if v := restricted(t, objects); v != nil {
			t.Errorf("not restricted: %v", v)
		}
		if m := one[*monitoringv1.PodMonitor](t, objects); !selects(t, &m.Spec.Selector, one[*appsv1.Deployment](t, objects).Spec.Template.Labels) {
			t.Error("the PodMonitor does not select the application's pods")
		}
		template := &one[*appsv1.Deployment](t, objects).Spec.Template
		mountsConfigOf(t, template, one[*corev1.ConfigMap](t, objects).Name)
		return template
	}

	pod := render()
	c := pod.Spec.InitContainers[0]
	if c.Name != "vpcprobe" || c.RestartPolicy == nil || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways {
		t.Errorf("not a native sidecar: %+v", c)
	}
	if c.ReadinessProbe != nil || c.StartupProbe != nil {
		t.Error("the application's readiness or start follows the targets unasked")
	}
	if pod.Annotations["prometheus.io/port"] != "9643" {
		t.Errorf("annotations: %v", pod.Annotations)
	}

	awaiting := render("--set", "vpcprobe.sidecar.await={orders}").Spec.InitContainers[0]
	if got := strings.Join(awaiting.StartupProbe.Exec.Command, " "); got != "/vpcprobe health --address=127.0.0.1:9644 --require=orders" {
		t.Errorf("await: %s", got)
	}
	if awaiting.ReadinessProbe != nil || awaiting.StartupProbe.FailureThreshold != 120 {
		t.Errorf("await: %+v", awaiting.StartupProbe)
	}

	plain := render("--set", "vpcprobe.sidecar.native=false")
	if len(plain.Spec.InitContainers) != 0 || len(plain.Spec.Containers) != 2 || plain.Spec.Containers[1].RestartPolicy != nil {
		t.Errorf("native=false: %+v", plain.Spec)
	}
}

func mountsConfigOf(t testing.TB, pod *corev1.PodTemplateSpec, name string) {
	t.Helper()
	for _, v := range pod.Spec.Volumes {
		if v.Name == "vpcprobe-config" && v.ConfigMap.Name == name {
			return
		}
	}
	t.Errorf("the pod does not mount the ConfigMap %s: %+v", name, pod.Spec.Volumes)
}

// The rules and the dashboard in the chart are those of deploy/.
func TestChartCopies(t *testing.T) {
	t.Parallel()
	same(t, "deploy/prometheus/vpcprobe.yaml", chart+"/files/rules.yaml")
	same(t, "deploy/grafana/vpcprobe.json", chart+"/files/dashboard.json")
}

func TestChartRulesAndDashboard(t *testing.T) {
	t.Parallel()
	tool(t, "helm")
	defaults := rendered(t, "--values", at(chart+"/ci/deployment-values.yaml"), "--set", "prometheusRule.create=true,dashboard.create=true")
	var want struct{ Groups []monitoringv1.RuleGroup }
	if err := yaml.UnmarshalStrict([]byte(read(t, at("deploy/prometheus/vpcprobe.yaml"))), &want); err != nil {
		t.Fatal(err)
	}
	got := one[*monitoringv1.PrometheusRule](t, defaults).Spec.Groups
	if asJSON(t, got) != asJSON(t, want.Groups) {
		t.Errorf("the chart's rules differ from deploy/prometheus:\n%s\n%s", asJSON(t, got), asJSON(t, want.Groups))
	}
	for _, o := range defaults {
		if c, ok := o.(*corev1.ConfigMap); ok && c.Labels["grafana_dashboard"] == "1" {
			if strings.TrimSpace(c.Data["vpcprobe.json"]) != strings.TrimSpace(read(t, at("deploy/grafana/vpcprobe.json"))) {
				t.Error("the chart's dashboard differs from deploy/grafana")
			}
			defaults = nil
			break
		}
	}
	if defaults != nil {
		t.Error("no dashboard")
	}

	changed := one[*monitoringv1.PrometheusRule](t, rendered(t, "--values", at(chart+"/ci/zones-values.yaml")))
	for _, g := range changed.Spec.Groups {
		for _, r := range g.Rules {
			switch {
			case r.Alert == "":
			case r.Alert == "VpcprobePathUnstable":
				t.Errorf("%s is disabled", r.Alert)
			case r.Labels["team"] != "network" || r.Labels["severity"] == "":
				t.Errorf("%s: labels %v", r.Alert, r.Labels)
			case !strings.HasPrefix(r.Annotations["runbook_url"], "https://runbooks.example.com/vpcprobe/"):
				t.Errorf("%s: runbook %s", r.Alert, r.Annotations["runbook_url"])
			}
		}
	}
}

func asJSON(t testing.TB, v any) string {
	t.Helper()
	text, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The notes end with commands that can be copied. Helm renders them for a
// cluster only, so here they are the content of a ConfigMap.
func TestChartNotes(t *testing.T) {
	t.Parallel()
	tool(t, "helm")
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(at(chart))); err != nil {
		t.Fatal(err)
	}
	notes := read(t, filepath.Join(copied, "templates/NOTES.txt"))
	write(t, filepath.Join(copied, "templates/notes.yaml"), `{{ define "notes" }}`+notes+`{{ end }}
apiVersion: v1
kind: ConfigMap
metadata: {name: notes}
data: {notes: {{ include "notes" . | toJson }}}
`)
	for file, want := range map[string]string{
		"deployment":  "port-forward deployment/release-vpcprobe 9643\n\nSeries: a target with one address and one name form has at most 60; 2 such targets on all agents together, at most 120.",
		"zones":       "port-forward deployment/release-vpcprobe-eu-west-1a 9643\n\nSeries: a target with one address and one name form has at most 60; 3 such targets on all agents together, at most 180.",
		"daemonset":   "vpcprobe probes what vpcprobe-config names.",
		"statefulset": "port-forward statefulset/release-vpcprobe 9643\n\nSeries: a target with one address and one name form has at most 60; 2 such targets on all agents together, at most 120.",
	} {
		out := must(t, copied, "helm", "template", "release", ".", "--namespace", "monitoring", "--kube-version", kubernetes[1],
			"--values", at(chart+"/ci/"+file+"-values.yaml"), "--show-only", "templates/notes.yaml")
		got := one[*corev1.ConfigMap](t, decode(t, out)).Data["notes"]
		if !strings.Contains(got, want) || !strings.Contains(got, "helm test release --namespace monitoring --logs") {
			t.Errorf("%s: the notes lack %q:\n%s", file, want, got)
		}
	}
}
