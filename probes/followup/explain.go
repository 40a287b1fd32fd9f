package followup

import (
	"slices"

	"vpcprobe/probes"
	"vpcprobe/probes/invoke"
)

// Explain names the causes of answers that somebody saved, by the same rules
// as of those that the agent got itself. It asks nothing further, so the sets
// of causes are wider. A cause that several answers show is one finding.
func Explain(answers []invoke.Answer) []probes.Finding {
	var all []probes.Finding
	rules := slices.Concat(invoke.Rules, Rules)
	for _, a := range answers {
		target, o := invoke.Saved(a)
		seen := probes.Evidence{Target: target}.With("invoke", []probes.Observation{o})
		for _, f := range probes.Diagnose(rules, seen) {
			all = merge(all, f)
		}
	}
	return all
}

// merge adds a finding to those of other answers.
func merge(all []probes.Finding, f probes.Finding) []probes.Finding {
	i := slices.IndexFunc(all, func(g probes.Finding) bool { return g.Rule == f.Rule })
	if i < 0 {
		return append(all, f)
	}
	all[i].Certainty = max(all[i].Certainty, f.Certainty)
	all[i].Because = append(all[i].Because, f.Because...)
	for _, n := range f.Notes {
		if !slices.Contains(all[i].Notes, n) && len(all[i].Notes) < maxNotes {
			all[i].Notes = append(all[i].Notes, n)
		}
	}
	return all
}

// maxNotes bounds what many saved answers add to one finding.
const maxNotes = 20
