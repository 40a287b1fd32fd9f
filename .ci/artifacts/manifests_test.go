package artifacts

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"
)

// An object is a manifest decoded into the type that the API server decodes it
// into.
type object interface {
	metav1.Object
}

// newObject returns an empty object of a kind, or nil.
func newObject(version, kind string) object {
	switch version + " " + kind {
	case "v1 ConfigMap":
		return &corev1.ConfigMap{}
	case "v1 Pod":
		return &corev1.Pod{}
	case "v1 Service":
		return &corev1.Service{}
	case "v1 ServiceAccount":
		return &corev1.ServiceAccount{}
	case "apps/v1 DaemonSet":
		return &appsv1.DaemonSet{}
	case "apps/v1 Deployment":
		return &appsv1.Deployment{}
	case "apps/v1 StatefulSet":
		return &appsv1.StatefulSet{}
	case "networking.k8s.io/v1 NetworkPolicy":
		return &networkingv1.NetworkPolicy{}
	case "policy/v1 PodDisruptionBudget":
		return &policyv1.PodDisruptionBudget{}
	case "monitoring.coreos.com/v1 PodMonitor":
		return &monitoringv1.PodMonitor{}
	case "monitoring.coreos.com/v1 PrometheusRule":
		return &monitoringv1.PrometheusRule{}
	case "monitoring.coreos.com/v1 ServiceMonitor":
		return &monitoringv1.ServiceMonitor{}
	}
	return nil
}

// decode decodes manifests strictly: an unknown or repeated field is a mistake.
func decode(t testing.TB, text string) []object {
	t.Helper()
	var objects []object
	reader := utilyaml.NewYAMLReader(newBuffered(text))
	for {
		doc, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return objects
		}
		if err != nil {
			t.Fatal(err)
		}
		if o := decodeOne(t, doc); o != nil {
			objects = append(objects, o)
		}
	}
}

func decodeOne(t testing.TB, doc []byte) object {
	t.Helper()
	var about metav1.TypeMeta
	if err := yaml.Unmarshal(doc, &about); err != nil {
		t.Fatalf("%v\n%s", err, doc)
	}
	if about.Kind == "" {
		if lines := strings.TrimSpace(stripComments(string(doc))); lines != "" {
			t.Errorf("a manifest without a kind:\n%s", doc)
		}
		return nil
	}
	o := newObject(about.APIVersion, about.Kind)
	if o == nil {
		t.Errorf("%s %s is not known to this test", about.APIVersion, about.Kind)
		return nil
	}
	if err := yaml.UnmarshalStrict(doc, o); err != nil {
		t.Errorf("%s: %v\n%s", about.Kind, err, doc)
	}
	return o
}

func stripComments(text string) string {
	var kept []string
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(strings.TrimSpace(line), "#") && strings.TrimSpace(line) != "---" {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

// pod returns an object's pod, if it has one.
func pod(o object) (*metav1.ObjectMeta, *corev1.PodSpec) {
	switch o := o.(type) {
	case *corev1.Pod:
		return &o.ObjectMeta, &o.Spec
	case *appsv1.DaemonSet:
		return &o.Spec.Template.ObjectMeta, &o.Spec.Template.Spec
	case *appsv1.Deployment:
		return &o.Spec.Template.ObjectMeta, &o.Spec.Template.Spec
	case *appsv1.StatefulSet:
		return &o.Spec.Template.ObjectMeta, &o.Spec.Template.Spec
	}
	return nil, nil
}

// selector returns the labels by which a workload knows its pods.
func selector(o object) *metav1.LabelSelector {
	switch o := o.(type) {
	case *appsv1.DaemonSet:
		return o.Spec.Selector
	case *appsv1.Deployment:
		return o.Spec.Selector
	case *appsv1.StatefulSet:
		return o.Spec.Selector
	}
	return nil
}

// sound checks what the API server and Kubernetes' controllers ask of manifests
// that were applied together.
func sound(t testing.TB, objects []object) {
	t.Helper()
	for _, o := range objects {
		named(t, o)
		meta, spec := pod(o)
		if spec == nil {
			continue
		}
		labeled(t, o.GetName(), meta.Labels)
		mounted(t, o.GetName(), spec)
		if s := selector(o); s != nil && !selects(t, s, meta.Labels) {
			t.Errorf("%s does not select its own pods: %v, %v", o.GetName(), s.MatchLabels, meta.Labels)
		}
	}
	wired(t, objects)
}

func named(t testing.TB, o object) {
	t.Helper()
	if problems := validation.IsDNS1123Subdomain(o.GetName()); problems != nil {
		t.Errorf("the name %q: %v", o.GetName(), problems)
	}
	labeled(t, o.GetName(), o.GetLabels())
}

func labeled(t testing.TB, name string, set map[string]string) {
	t.Helper()
	for k, v := range set {
		if problems := append(validation.IsQualifiedName(k), validation.IsValidLabelValue(v)...); problems != nil {
			t.Errorf("%s: label %s=%s: %v", name, k, v, problems)
		}
	}
}

// mounted checks that each mount has a volume and each volume a mount.
func mounted(t testing.TB, name string, spec *corev1.PodSpec) {
	t.Helper()
	used := map[string]bool{}
	for _, v := range spec.Volumes {
		if _, twice := used[v.Name]; twice {
			t.Errorf("%s: two volumes are called %s", name, v.Name)
		}
		used[v.Name] = false
	}
	for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
		for _, m := range c.VolumeMounts {
			if _, ok := used[m.Name]; !ok {
				t.Errorf("%s: %s mounts %s, which is no volume", name, c.Name, m.Name)
			}
			used[m.Name] = true
		}
	}
	for v, ok := range used {
		if !ok {
			t.Errorf("%s: nothing mounts %s", name, v)
		}
	}
}

func selects(t testing.TB, s *metav1.LabelSelector, set map[string]string) bool {
	t.Helper()
	by, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		t.Fatal(err)
	}
	return by.Matches(labels.Set(set))
}

// pods returns the pods of workloads, without those of tests.
func pods(objects []object) (metas []*metav1.ObjectMeta, specs []*corev1.PodSpec) {
	for _, o := range objects {
		if selector(o) == nil {
			continue
		}
		m, s := pod(o)
		metas, specs = append(metas, m), append(specs, s)
	}
	return metas, specs
}

// ports returns the TCP ports of a pod's containers, by name.
func ports(spec *corev1.PodSpec) map[string]int32 {
	found := map[string]int32{}
	for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
		for _, p := range c.Ports {
			found[p.Name] = p.ContainerPort
		}
	}
	return found
}

// wired checks that what selects pods and ports finds them, and that policies
// name the container's port and not the service's.
func wired(t testing.TB, objects []object) {
	t.Helper()
	metas, specs := pods(objects)
	for _, o := range objects {
		switch o := o.(type) {
		case *corev1.Service:
			serves(t, o, metas, specs)
		case *policyv1.PodDisruptionBudget:
			if !slices.ContainsFunc(metas, func(m *metav1.ObjectMeta) bool { return selects(t, o.Spec.Selector, m.Labels) }) {
				t.Errorf("the disruption budget %s selects no pods", o.Name)
			}
		case *networkingv1.NetworkPolicy:
			lets(t, o, metas, specs)
		case *monitoringv1.PodMonitor:
			for i, m := range metas {
				for _, e := range o.Spec.PodMetricsEndpoints {
					if selects(t, &o.Spec.Selector, m.Labels) && ports(specs[i])[*e.Port] == 0 {
						t.Errorf("PodMonitor: no port %s", *e.Port)
					}
				}
			}
		case *monitoringv1.ServiceMonitor:
			monitors(t, o, objects)
		}
	}
}

func serves(t testing.TB, s *corev1.Service, metas []*metav1.ObjectMeta, specs []*corev1.PodSpec) {
	t.Helper()
	found := false
	for i, m := range metas {
		if !labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(m.Labels)) {
			continue
		}
		found = true
		for _, p := range s.Spec.Ports {
			if ports(specs[i])[p.TargetPort.StrVal] == 0 {
				t.Errorf("service %s: the pods have no port %s", s.Name, p.TargetPort.StrVal)
			}
		}
	}
	if !found {
		t.Errorf("service %s selects no pods", s.Name)
	}
}

func lets(t testing.TB, p *networkingv1.NetworkPolicy, metas []*metav1.ObjectMeta, specs []*corev1.PodSpec) {
	t.Helper()
	for i, m := range metas {
		if !selects(t, &p.Spec.PodSelector, m.Labels) {
			t.Errorf("the network policy does not select %v", m.Labels)
		}
		if got, want := p.Spec.Ingress[0].Ports[0].Port.IntVal, ports(specs[i])["probe-metrics"]; got != want {
			t.Errorf("the network policy lets port %d in; the container listens on %d", got, want)
		}
	}
}

func monitors(t testing.TB, m *monitoringv1.ServiceMonitor, objects []object) {
	t.Helper()
	scraped := 0
	for _, o := range objects {
		s, ok := o.(*corev1.Service)
		if !ok || !selects(t, &m.Spec.Selector, s.Labels) {
			continue
		}
		for _, e := range m.Spec.Endpoints {
			if slices.ContainsFunc(s.Spec.Ports, func(p corev1.ServicePort) bool { return p.Name == e.Port }) {
				scraped++
			}
		}
	}
	if scraped != 1 {
		t.Errorf("ServiceMonitor %s scrapes each pod %d times", m.Name, scraped)
	}
}

// restricted checks pods with the code of the API server's own admission.
func restricted(t testing.TB, objects []object) (violations []string) {
	t.Helper()
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		meta, spec := pod(o)
		if spec == nil {
			continue
		}
		result := policy.AggregateCheckResults(evaluator.EvaluatePod(api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}, meta, spec))
		if !result.Allowed {
			violations = append(violations, o.GetName()+": "+result.ForbiddenDetail())
		}
	}
	return violations
}

// configured loads the agent's configuration in each ConfigMap, and asks the
// binary about each command line.
func configured(t testing.TB, objects []object) {
	t.Helper()
	for _, o := range objects {
		if c, ok := o.(*corev1.ConfigMap); ok && c.Data["vpcprobe.yaml"] != "" {
			loads(t, c.Name, c.Data["vpcprobe.yaml"])
		}
		_, spec := pod(o)
		if spec == nil {
			continue
		}
		for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
			if strings.Contains(c.Image, "vpcprobe") {
				commands(t, o.GetName(), &c)
			}
		}
	}
}

func commands(t testing.TB, where string, c *corev1.Container) {
	t.Helper()
	accepted(t, where, c.Args)
	for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		if p == nil {
			continue
		}
		if p.Exec == nil || p.Exec.Command[0] != "/vpcprobe" {
			t.Errorf("%s: a probe that is not the binary's: %+v", where, p.ProbeHandler)
			continue
		}
		accepted(t, where, p.Exec.Command[1:])
		asks(t, where, c.Env, p.Exec.Command)
	}
}

// asks checks that a probe asks where the agent listens.
func asks(t testing.TB, where string, env []corev1.EnvVar, command []string) {
	t.Helper()
	listens, asked := "127.0.0.1:9644", "127.0.0.1:9644" // what both take unless told
	for _, e := range env {
		if e.Name == "VPCPROBE_HEALTH_LISTEN" {
			listens = e.Value
		}
	}
	for _, word := range command {
		if address, ok := strings.CutPrefix(word, "--address="); ok {
			asked = address
		}
	}
	if listens != asked {
		t.Errorf("%s: health is served on %s and asked for on %s", where, listens, asked)
	}
}
