package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"vpcprobe/agent"
	"vpcprobe/config"
	"vpcprobe/lab"
)

// A caller who must be refused is as it should be only if every cause that the
// evidence leaves open is one that the configuration names.
func TestExpectedSets(t *testing.T) {
	l, err := lab.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, tt := range []struct {
		expect string
		fault  lab.Fault
		want   string // verdict: findings, expected ones in brackets
	}{
		{"caller-anonymous", lab.ResourcePolicySilent, "unreachable: caller-anonymous resource-policy-silent"},
		{"[caller-anonymous, resource-policy-silent]", lab.ResourcePolicySilent, "reachable: (caller-anonymous) (resource-policy-silent)"},
		{"[caller-anonymous, resource-policy-silent, throttled]", lab.ResourcePolicySilent, "reachable: (caller-anonymous) (resource-policy-silent)"},
		{"[caller-anonymous, resource-policy-silent]", lab.EndpointPolicySilent, "unreachable: endpoint-policy-silent"},
		{"[caller-anonymous, resource-policy-silent]", nil, "degraded: refusal-missing"},
	} {
		t.Run(tt.expect, func(t *testing.T) {
			if tt.fault != nil {
				l.Break(tt.fault)
			}
			defer l.Heal()
			text := strings.Replace(l.Config(), "path: /invoices", "path: /invoices\n    expect: {finding: "+tt.expect+"}", 1)
			if got := checked(t, l, text, "billing"); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// checked is what a check of one target of a configuration comes to.
func checked(t *testing.T, l *lab.Lab, text, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "vpcprobe.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	loaded, err := config.Load(config.Options{Path: path, Findings: findingIDs()})
	if err != nil {
		t.Fatal(err)
	}
	a, err := labAgent(l, targetOf(loaded.Targets, lab.Scenario{Target: name}))
	if err != nil {
		t.Fatal(err)
	}
	rounds, err := a.Check(t.Context(), nil, func(agent.Step) {})
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, f := range rounds[0].Findings {
		id := f.Rule.ID
		if f.Expected {
			id = "(" + id + ")"
		}
		found = append(found, id)
	}
	slices.Sort(found)
	return string(rounds[0].Verdict) + ": " + strings.Join(found, " ")
}
