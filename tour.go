package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"vpcprobe/agent"
	"vpcprobe/config"
	"vpcprobe/lab"
	"vpcprobe/probes"
)

// A trial is what one scenario of the lab gave.
type trial struct {
	lab.Scenario
	Broken []string // the findings while it was broken
	Healed []string // the findings after it was healed
	Err    error
}

// passed reports whether the agent named exactly what was broken, and nothing
// once it was healed.
func (t trial) passed() bool {
	return t.Err == nil && slices.Equal(t.Broken, t.Want) && len(t.Healed) == 0
}

// tour tries the scenarios, each on a healthy lab, and tells of each as it
// ends. Labs run side by side; trials within a lab follow one another.
func tour(ctx context.Context, scenarios []lab.Scenario, labs int, tell func(trial)) error {
	next := make(chan lab.Scenario)
	done := make(chan trial)
	failed := make(chan error, labs)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	var workers sync.WaitGroup
	for range labs {
		workers.Go(func() {
			if err := tryAll(ctx, next, done); err != nil {
				failed <- err
				cancel()
			}
		})
	}
	go func() {
		defer close(next)
		for _, s := range scenarios {
			select {
			case next <- s:
			case <-ctx.Done():
				return
			}
		}
	}()
	go func() { workers.Wait(); close(done) }()
	for t := range done {
		tell(t)
	}
	select {
	case err := <-failed:
		return err
	default:
		return context.Cause(ctx)
	}
}

// tryAll takes scenarios from next and tries them on a lab of its own.
func tryAll(ctx context.Context, next <-chan lab.Scenario, done chan<- trial) (err error) {
	l, err := lab.Start()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	targets, err := labTargets(l)
	if err != nil {
		return err
	}
	for s := range next {
		t := try(ctx, l, targets, s)
		if ctx.Err() != nil {
			return nil
		}
		done <- t
	}
	return nil
}

// try breaks the lab, looks, heals it, and looks again.
func try(ctx context.Context, l *lab.Lab, targets []*probes.Target, s lab.Scenario) trial {
	t := trial{Scenario: s}
	defer l.Heal()
	a, err := broken(l, targets, s)
	if err != nil {
		t.Err = err
		return t
	}
	t.Broken, t.Err = look(ctx, a)
	l.Heal()
	if t.Err != nil {
		return t
	}
	if a, t.Err = labAgent(l, targetOf(targets, s)); t.Err == nil {
		t.Healed, t.Err = look(ctx, a)
	}
	return t
}

// broken breaks the lab and returns an agent for the target that it concerns.
func broken(l *lab.Lab, targets []*probes.Target, faults ...lab.Scenario) (*agent.Agent, error) {
	target := targetOf(targets, faults[0])
	if target == nil {
		return nil, fmt.Errorf("the lab has no target %q", faults[0].Target)
	}
	edited := target.Clone()
	for _, s := range faults {
		if s.Edit != nil {
			s.Edit(edited)
		}
		if s.Break != nil {
			l.Break(s.Break)
		}
	}
	return labAgent(l, edited)
}

func targetOf(targets []*probes.Target, s lab.Scenario) *probes.Target {
	for _, t := range targets {
		if t.Name == s.Target {
			return t
		}
	}
	return nil
}

// labAgent returns an agent that knows one target of the lab.
func labAgent(l *lab.Lab, target *probes.Target) (*agent.Agent, error) {
	return newAgent(&config.Config{Targets: []*probes.Target{target}}, l.System(), slog.New(slog.DiscardHandler))
}

// look walks the targets of an agent once and returns what was found of the
// first, sorted.
func look(ctx context.Context, a *agent.Agent) ([]string, error) {
	rounds, err := a.Check(ctx, nil, func(agent.Step) {})
	if err != nil {
		return nil, err
	}
	return found(rounds[0]), nil
}

// found lists the ids of a round's findings, sorted.
func found(r agent.Round) []string {
	var ids []string
	for _, f := range r.Findings {
		ids = append(ids, f.Rule.ID)
	}
	slices.Sort(ids)
	return ids
}

// labTargets loads the lab's configuration as any other is loaded.
func labTargets(l *lab.Lab) ([]*probes.Target, error) {
	loaded, err := loadLab(l, nil)
	if err != nil {
		return nil, err
	}
	return loaded.Targets, nil
}

// loadLab writes the lab's configuration to a file and reads it with the real
// loader. The environment does not override it: a tour is the same everywhere.
func loadLab(l *lab.Lab, flags map[string]string) (*config.Loaded, error) {
	dir, err := os.MkdirTemp("", "vpcprobe-lab-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "lab.yaml")
	if err := os.WriteFile(path, []byte(l.Config()), 0o600); err != nil {
		return nil, err
	}
	return config.Load(config.Options{Path: path, Flags: flags, Kinds: kindNames(), Findings: findingIDs()})
}
