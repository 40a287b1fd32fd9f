package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"vpcprobe/agent"
	"vpcprobe/lab"
	"vpcprobe/probes"
	"vpcprobe/probes/all"
)

// Precision before recall: with one to three things wrong at once, on
// different layers, the cause on the lowest layer is named every time, and no
// finding names something that works. VPCPROBE_SEED repeats a run.
func TestCombinations(t *testing.T) {
	n := 200
	if os.Getenv("VPCPROBE_NIGHTLY") != "" {
		n = 2000
	}
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("VPCPROBE_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("VPCPROBE_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	combinations := make(chan []lab.Scenario, n)
	for range n {
		combinations <- combine(random)
	}
	close(combinations)

	var wg sync.WaitGroup
	for range labs {
		wg.Go(func() {
			for fault := range breakAll(t, combinations) {
				t.Error(fault)
			}
		})
	}
	wg.Wait()
}

// combine picks one to three faults of one target, at most one on a layer,
// lowest layer first.
func combine(random *rand.Rand) []lab.Scenario {
	faults := slices.DeleteFunc(lab.Scenarios(), func(s lab.Scenario) bool { return len(s.Want) == 0 })
	chosen := []lab.Scenario{faults[random.IntN(len(faults))]}
	for range random.IntN(3) {
		next := faults[random.IntN(len(faults))]
		if !slices.ContainsFunc(chosen, func(s lab.Scenario) bool { return !fit(s, next) || !fit(next, s) }) {
			chosen = append(chosen, next)
		}
	}
	slices.SortStableFunc(chosen, func(a, b lab.Scenario) int { return seenBy(a) - seenBy(b) })
	return chosen
}

// bySuccess are findings that an answered call brings to light, because it
// contradicts the files: with anything else wrong there is none.
var bySuccess = []string{"client-cert-expired-accepted", "truststore-copy-differs"}

// undone are findings that another takes away: an expired certificate is no
// fault where nobody asks for it.
var undone = map[string]string{"client-cert-expired": "client-cert-not-asked"}

// fit reports whether the fault a can show beside b: they concern one target
// on different layers, and b does not take away what a is wrong with.
func fit(a, b lab.Scenario) bool {
	if a.Target != b.Target || a.Layer == b.Layer || seenBy(a) == seenBy(b) || slices.Contains(bySuccess, a.Want[0]) {
		return false
	}
	if slices.ContainsFunc(a.Want, func(id string) bool { return slices.Contains(b.Want, undone[id]) }) {
		return false
	}
	if b.Edit == nil {
		return true
	}
	const configured = "as configured"
	t := probes.Target{
		Domain: configured,
		Settings: &probes.Settings{
			ClientCertificate: probes.ClientCertificate{Certificate: "c", Key: "k"},
			Via:               []probes.Via{configured},
			Trust:             probes.Trust{CAFile: configured},
		},
	}
	b.Edit(&t)
	return t.ClientCertificate.Certificate != "" && t.Via[0] == configured && t.Domain == configured && t.Trust.CAFile == configured
}

// seenBy is the position of the lowest kind whose rules name the fault: no
// lower one can see it.
func seenBy(s lab.Scenario) int {
	return slices.IndexFunc(all.Kinds, func(k probes.Kind) bool {
		return slices.ContainsFunc(k.Rules, func(r *probes.Rule) bool { return slices.Contains(s.Want, r.ID) })
	})
}

// breakAll breaks a lab in each combination and yields what the agent then
// said wrongly.
func breakAll(t *testing.T, combinations <-chan []lab.Scenario) func(func(string) bool) {
	return func(yield func(string) bool) {
		l, err := lab.Start()
		if err != nil {
			yield(err.Error())
			return
		}
		defer l.Close()
		targets, err := labTargets(l)
		if err != nil {
			yield(err.Error())
			return
		}
		for chosen := range combinations {
			findings, err := breakOne(t.Context(), l, targets, chosen)
			if err != nil {
				yield(err.Error())
				return
			}
			if fault := misjudged(chosen, findings); fault != "" && !yield(fault) {
				return
			}
		}
	}
}

func breakOne(ctx context.Context, l *lab.Lab, targets []*probes.Target, chosen []lab.Scenario) ([]probes.Finding, error) {
	defer l.Heal()
	a, err := broken(l, targets, chosen...)
	if err != nil {
		return nil, err
	}
	rounds, err := a.Check(ctx, nil, func(agent.Step) {})
	if err != nil {
		return nil, err
	}
	return rounds[0].Findings, nil
}

// misjudged says what is wrong with the findings, or nothing.
func misjudged(chosen []lab.Scenario, findings []probes.Finding) string {
	var truth, titles, found []string
	for _, s := range chosen {
		truth = append(truth, s.Want...)
		titles = append(titles, s.Layer+"/"+s.ID)
	}
	open := false // whether a true cause is among those that are left open
	for _, f := range findings {
		found = append(found, fmt.Sprintf("%s (%v)", f.Rule.ID, f.Certainty))
		open = open || f.Certainty == probes.Possible && slices.Contains(truth, f.Rule.ID)
	}
	complain := func(format string, args ...any) string {
		return fmt.Sprintf("%s:\n%s\nfound %s", strings.Join(titles, " + "), fmt.Sprintf(format, args...), strings.Join(found, ", "))
	}
	named := func(id string) bool {
		return slices.ContainsFunc(findings, func(f probes.Finding) bool { return f.Rule.ID == id })
	}
	if !slices.ContainsFunc(chosen[0].Want, named) {
		return complain("the lowest cause is not named: want one of %v", chosen[0].Want)
	}
	for _, f := range findings {
		if !slices.Contains(truth, f.Rule.ID) && !(open && f.Certainty == probes.Possible) {
			return complain("%s is named, and it works", f.Rule.ID)
		}
	}
	return ""
}
