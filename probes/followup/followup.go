// Package followup asks further where one answer has several causes.
package followup

import (
	"vpcprobe/probes"
	"vpcprobe/probes/invoke"
)

const name = "followup"

// Kind asks further.
var Kind = probes.Kind{
	Name:  name,
	Doc:   "asks further, once per failure, where one answer has several causes",
	Per:   probes.PerTarget,
	Rules: Rules,
	New: func(sys probes.System) probes.Constructor {
		return func(t *probes.Target) (probes.Probe, error) { return nil, nil }
	},
}

// Rules are the root causes that need follow-up requests.
var Rules = []*probes.Rule{}

// Explain names the causes of saved answers.
func Explain(answers []invoke.Answer) []probes.Finding { return nil }
