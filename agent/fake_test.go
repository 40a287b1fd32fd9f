package agent

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"

	"vpcprobe/probes"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A fake is a probe made of a function.
type fake func(ctx context.Context, seen probes.Evidence, line *probes.Line) []probes.Observation

func (f fake) Probe(ctx context.Context, seen probes.Evidence, line *probes.Line) []probes.Observation {
	return f(ctx, seen, line)
}

// kind makes a kind of one function, for all targets.
func kind(name string, per probes.Scope, f fake) probes.Kind {
	return probes.Kind{Name: name, Per: per, New: func(probes.System) probes.Constructor {
		return func(*probes.Target) (probes.Probe, error) {
			if f == nil {
				return nil, nil
			}
			return f, nil
		}
	}}
}

// opens makes a kind that resolves to the lanes.
func opens(f fake, lanes func() []probes.Lane) probes.Kind {
	k := kind("resolve", probes.PerTarget, f)
	k.Lanes = func(probes.Evidence) []probes.Lane { return lanes() }
	return k
}

// ends is a probe that ends in an outcome.
func ends(o probes.Outcome) fake {
	return func(context.Context, probes.Evidence, *probes.Line) []probes.Observation {
		return []probes.Observation{{Outcome: o}}
	}
}

// lane is the private DNS name at the nth address.
func lane(n byte) probes.Lane {
	return probes.Lane{
		Via: probes.ViaPrivateDNS, ServerName: "api.test", Answered: true,
		Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, n}), 443),
	}
}

func lanes(ns ...byte) func() []probes.Lane {
	return func() []probes.Lane {
		var l []probes.Lane
		for _, n := range ns {
			l = append(l, lane(n))
		}
		return l
	}
}

func target(name string) *probes.Target {
	return &probes.Target{Name: name, Settings: &probes.Settings{Every: 10 * time.Second, Timeout: time.Second}}
}

func newAgent(t *testing.T, kinds []probes.Kind, targets ...*probes.Target) *Agent {
	t.Helper()
	a, err := New(targets, kinds, probes.System{}, Options{Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// check walks the agent's only target once.
func check(t *testing.T, kinds ...probes.Kind) Round {
	t.Helper()
	return checkTarget(t, target("orders"), kinds...)
}

func checkTarget(t *testing.T, target *probes.Target, kinds ...probes.Kind) Round {
	t.Helper()
	rounds, err := newAgent(t, kinds, target).Check(t.Context(), nil, func(Step) {})
	if err != nil {
		t.Fatal(err)
	}
	return rounds[0]
}

// A sink is a function.
type sink func(Update)

func (s sink) Record(u Update) { s(u) }
