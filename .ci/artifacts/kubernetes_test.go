package artifacts

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// kustomized builds a folder of deploy/kubernetes as `kubectl apply -k` does.
func kustomized(t testing.TB, folder string) []object {
	t.Helper()
	return decode(t, kustomizedText(t, folder))
}

func kustomizedText(t testing.TB, folder string) string {
	t.Helper()
	return builtAt(t, at("deploy/kubernetes/"+folder))
}

// builtAt is what Kustomize makes of the kustomization in a folder.
func builtAt(t testing.TB, path string) string {
	t.Helper()
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), path)
	if err != nil {
		t.Fatal(err)
	}
	text, err := resources.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestManifests(t *testing.T) {
	t.Parallel()
	for _, folder := range []string{"agent", "example"} {
		objects := kustomized(t, folder)
		sound(t, objects)
		configured(t, objects)
		if v := restricted(t, objects); v != nil {
			t.Errorf("%s: not restricted: %v", folder, v)
		}
	}
}

// The component adds the sidecar to what asks for it, and to nothing else.
func TestSidecarComponent(t *testing.T) {
	t.Parallel()
	objects := kustomized(t, "example")
	shop := one[*appsv1.Deployment](t, objects).Spec.Template.Spec
	if len(shop.InitContainers) != 1 || *shop.InitContainers[0].RestartPolicy != corev1.ContainerRestartPolicyAlways || len(shop.Containers) != 1 {
		t.Errorf("shop: %+v", shop)
	}
	if shop.InitContainers[0].ReadinessProbe != nil || shop.InitContainers[0].StartupProbe != nil {
		t.Error("the application's readiness or start follows the targets unasked")
	}
	if basket := one[*appsv1.StatefulSet](t, objects).Spec.Template.Spec; basket.InitContainers != nil || basket.Volumes != nil {
		t.Errorf("basket: %+v", basket)
	}
}

// The lines in the component's header make an application with the sidecar and
// with the application's own configuration, whatever others there are in the
// namespace.
func TestSidecarComponentAsDocumented(t *testing.T) {
	t.Parallel()
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(at("deploy/kubernetes"))); err != nil {
		t.Fatal(err)
	}
	header := read(t, filepath.Join(copied, "sidecar/kustomization.yaml"))
	var lines strings.Builder
	for _, m := range regexp.MustCompile(`(?m)^#   (.*)$`).FindAllStringSubmatch(header, -1) {
		lines.WriteString(m[1] + "\n")
	}
	const published = "https://github.com/vpcprobe/vpcprobe//deploy/kubernetes/sidecar"
	documented := lines.String()
	if !strings.Contains(documented, published) {
		t.Fatalf("the header does not say how to use the component:\n%s", header)
	}
	documented = strings.Replace(documented, published, "../sidecar", 1)

	names := map[string]bool{}
	for _, target := range []string{"orders", "invoices"} {
		folder := filepath.Join(copied, target)
		write(t, folder+"/application.yaml", read(t, at("deploy/kubernetes/example/application.yaml")))
		write(t, folder+"/kustomization.yaml", "resources: [application.yaml]\n"+documented)
		write(t, folder+"/vpcprobe.yaml", "targets: [{name: "+target+", api: a1b2c3d4e5, region: eu-west-1, stage: prod}]\n")
		objects := decode(t, builtAt(t, folder))
		sound(t, objects)
		configured(t, objects)
		c := one[*corev1.ConfigMap](t, objects)
		if !strings.Contains(c.Data["vpcprobe.yaml"], target) {
			t.Errorf("the configuration is not the application's: %s", c.Data["vpcprobe.yaml"])
		}
		mountsConfigOf(t, &one[*appsv1.Deployment](t, objects).Spec.Template, c.Name)
		names[c.Name] = true
	}
	if len(names) != 2 {
		t.Errorf("two applications share a ConfigMap: %v", names)
	}
}

// The plain manifests are what the chart renders, but for names and labels.
func TestManifestsAreThoseOfTheChart(t *testing.T) {
	t.Parallel()
	tool(t, "helm")
	plain := one[*appsv1.Deployment](t, kustomized(t, "agent")).Spec.Template.Spec
	charted := one[*appsv1.Deployment](t, rendered(t, "--values", at(chart+"/ci/deployment-values.yaml"))).Spec.Template.Spec
	neutral(&plain)
	neutral(&charted)
	if !equality.Semantic.DeepEqual(plain, charted) {
		t.Errorf("deploy/kubernetes/agent differs from the chart:\n%s\n%s", asJSON(t, plain), asJSON(t, charted))
	}
	sidecar := one[*appsv1.Deployment](t, kustomized(t, "example")).Spec.Template.Spec.InitContainers[0]
	sidecar.RestartPolicy = nil
	sidecar.Image, _, _ = strings.Cut(sidecar.Image, ":")
	agent := plain.Containers[0]
	agent.ReadinessProbe = nil
	if !equality.Semantic.DeepEqual(sidecar, agent) {
		t.Errorf("deploy/kubernetes/sidecar differs from the agent:\n%s\n%s", asJSON(t, sidecar), asJSON(t, agent))
	}
}

// neutral removes what may differ.
func neutral(s *corev1.PodSpec) {
	s.ServiceAccountName = ""
	s.TopologySpreadConstraints[0].LabelSelector = nil
	s.Volumes[0].ConfigMap.Name = ""
	c := &s.Containers[0]
	for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe} {
		p.Exec.Command = p.Exec.Command[:2] // the chart names the address
	}
	c.Env = c.Env[:1] // and the variable for it
	c.Image, _, _ = strings.Cut(c.Image, ":")
}
