package main

import (
	"os"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"vpcprobe/lab"
)

func TestMain(m *testing.M) {
	if err := isolate(); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// Each way to break the lab gives exactly the expected set of findings, and
// none is left once it is healed.
func TestScenarios(t *testing.T) {
	err := tour(t.Context(), lab.Scenarios(), labs, func(tr trial) {
		t.Run(tr.Layer+"/"+tr.ID, func(t *testing.T) {
			switch {
			case tr.Err != nil:
				t.Error(tr.Err)
			case !slices.Equal(tr.Broken, tr.Want):
				t.Errorf("%s:\ngot  %s\nwant %s", tr.Title, strings.Join(tr.Broken, " "), strings.Join(tr.Want, " "))
			}
			if len(tr.Healed) > 0 {
				t.Errorf("after it was healed: %s", strings.Join(tr.Healed, " "))
			}
		})
	})
	if err != nil {
		t.Fatal(err)
	}
}

// pathOnly are the findings that need routers on the way: package lab/netns
// makes those out of network namespaces, and its tests hold them.
var pathOnly = []string{"refused-by-middlebox", "routing-loop", "tcp-terminated-early", "mss-rewritten", "path-changed", "mtu-black-hole"}

// agentOnly are the findings of the agent itself, which its own tests hold.
var agentOnly = []string{"refusal-missing", "unexplained"}

// Every finding is reached by a scenario, and every scenario's findings exist.
func TestEveryFindingIsReached(t *testing.T) {
	reached := map[string]bool{}
	for _, s := range lab.Scenarios() {
		for _, id := range s.Want {
			reached[id] = true
			if !slices.Contains(findingIDs(), id) {
				t.Errorf("scenario %s wants %s, which does not exist", s.ID, id)
			}
		}
	}
	for _, id := range findingIDs() {
		if !reached[id] && !slices.Contains(pathOnly, id) && !slices.Contains(agentOnly, id) {
			t.Errorf("no scenario leads to %s", id)
		}
	}
}

// A healthy lab gives no finding, round after round.
func TestHealthyLabIsFreeOfFindings(t *testing.T) {
	rounds := 250 // of each of four targets
	if os.Getenv("VPCPROBE_NIGHTLY") != "" {
		rounds = 2500
	}
	l, err := lab.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	targets, err := labTargets(l)
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range targets {
		a, err := labAgent(l, target)
		if err != nil {
			t.Fatal(err)
		}
		for i := range rounds {
			ids, err := look(t.Context(), a)
			if err != nil {
				t.Fatal(err)
			}
			if len(ids) > 0 {
				t.Fatalf("round %d of %s: %v", i, target.Name, ids)
			}
		}
	}
}
