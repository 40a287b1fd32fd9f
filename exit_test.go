package main

import (
	"testing"

	"vpcprobe/agent"
	"vpcprobe/probes"
)

// No target that cannot be reached lets the program end with 0, whatever the
// findings: only what callers do not feel is a matter of --strict.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	a, b := probes.Finding{Rule: &probes.Rule{ID: "a", Severity: probes.Warning}}, probes.Finding{Rule: &probes.Rule{ID: "b", Severity: probes.Error}}
	for _, tt := range []struct {
		name  string
		round agent.Round
		want  int
	}{
		{"reachable", agent.Round{Verdict: agent.Reachable}, 0},
		{"refused as expected", agent.Round{Verdict: agent.Reachable, Findings: []probes.Finding{b}}, 0},
		{"warnings, and callers succeed", agent.Round{Verdict: agent.Degraded, Findings: []probes.Finding{a}, Paths: 2, Working: 2}, exitWarning},
		{"warnings, and some callers fail", agent.Round{Verdict: agent.Degraded, Findings: []probes.Finding{a}, Paths: 2, Working: 1, Failing: 1}, exitError},
		{"warnings, and all callers fail", agent.Round{Verdict: agent.Unreachable, Findings: []probes.Finding{a}}, exitError},
		{"an error", agent.Round{Verdict: agent.Degraded, Findings: []probes.Finding{a, b}}, exitError},
		{"unreachable, and nothing found", agent.Round{Verdict: agent.Unreachable}, exitError},
		{"our own trouble", agent.Round{Verdict: agent.Unknown}, exitInternal},
		{"our own trouble, and a warning", agent.Round{Verdict: agent.Unknown, Findings: []probes.Finding{a}}, exitInternal},
		{"our own trouble, and an error", agent.Round{Verdict: agent.Unknown, Findings: []probes.Finding{b}}, exitError},
	} {
		if got := roundCode(tt.round); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}
