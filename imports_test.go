package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// kinds are the folders of the kinds of probe, lowest layer first: a kind may
// import only those before it.
var kinds = []string{"resolve", "connect", "trace", "identify", "handshake", "invoke", "followup"}

// mayImport says what each package may import of ours. A package that is not
// named here may import nothing of ours.
func mayImport() map[string][]string {
	allowed := map[string][]string{
		"config":        {"probes"},
		"lab":           {"probes", "lab/apigateway"},
		"lab/netns":     {"probes"},
		"agent":         {"probes"},
		"agent/metrics": {"probes", "agent"},
		"agent/report":  {"probes", "agent"},
		"agent/status":  {"probes", "agent"},
		"agent/web":     {},
		"agent/export":  {"probes", "agent"},
		"agent/service": {},
	}
	below := []string{"probes"}
	for _, k := range kinds {
		allowed["probes/"+k] = slices.Clone(below)
		below = append(below, "probes/"+k)
	}
	allowed["probes/all"] = below
	return allowed
}

// The imports form the DAG of docs/architecture.md.
func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}}:{{join .Imports " "}}`, "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	allowed := mayImport()
	for line := range strings.Lines(string(out)) {
		path, imports, _ := strings.Cut(strings.TrimSpace(line), ":")
		name, ok := strings.CutPrefix(path, "vpcprobe/")
		if !ok {
			continue // the command itself joins everything
		}
		for _, i := range strings.Fields(imports) {
			i, ours := strings.CutPrefix(i, "vpcprobe/")
			if ours && !slices.Contains(allowed[name], i) && !strings.HasPrefix(name, "bench") {
				t.Errorf("%s imports %s, which it must not: see docs/architecture.md", name, i)
			}
		}
	}
}

// Only config knows viper.
func TestOnlyConfigKnowsViper(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}}:{{join .Imports " "}}`, "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for line := range strings.Lines(string(out)) {
		path, imports, _ := strings.Cut(strings.TrimSpace(line), ":")
		if !slices.Contains(strings.Fields(imports), "github.com/spf13/viper") {
			continue
		}
		found = true
		if path != "vpcprobe/config" {
			t.Errorf("%s imports viper", path)
		}
	}
	if !found {
		t.Error("nothing imports viper: this test looks in the wrong place")
	}
}
