package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"vpcprobe/agent"
	"vpcprobe/config"
	"vpcprobe/lab"
)

// labs is how many labs a tour uses side by side: it mostly waits for silence.
const labs = 6

// scene is how long the running lab stays broken, and then healthy.
const scene = 15 * time.Second

func newLab() *cobra.Command {
	var once, every bool
	var listen, only string
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "Try it without AWS: a private API on loopback, broken in one way after another",
		Long: `Lab starts a resolver, an endpoint with three addresses and a private API on
127.0.0.0/8, and the agent probing them. It breaks them in one way after another
and says what it broke and what the agent concluded. It needs no privileges, and
nothing leaves this machine.

With --once it makes a tour, prints a scorecard of truth against verdict, and
exits with 0 only if every fault gave exactly the expected findings. With --show
it breaks the lab in one way and shows the check of the target that it concerns;
a finding's id is the name of a way to have it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if every && !once {
				return exit{exitUsage, fmt.Errorf("--all goes with --once")}
			}
			if only != "" && (once || listen != "") {
				return exit{exitUsage, fmt.Errorf("--show goes alone")}
			}
			if err := isolate(); err != nil {
				return exit{exitInternal, err}
			}
			if only != "" {
				return labShow(cmd.Context(), only, cmd.OutOrStdout())
			}
			if once {
				return labOnce(cmd.Context(), every, cmd.OutOrStdout(), cmd.ErrOrStderr())
			}
			return labLive(cmd.Context(), listen, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "make one tour and exit")
	cmd.Flags().BoolVar(&every, "all", false, "with --once: try every fault there is")
	cmd.Flags().StringVar(&only, "show", "", "break the lab in one way, by `ID`, and show the check")
	cmd.RegisterFlagCompletionFunc("show", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return scenarioIDs(), cobra.ShellCompDirectiveNoFileComp
	})
	cmd.Flags().StringVar(&listen, "listen", "", "`ADDRESS` to serve metrics and the page on (default 127.0.0.1:9643)")
	return cmd
}

// isolate takes this machine's AWS settings out of the environment, so that
// the default credential chain finds the lab's instance metadata service.
func isolate() error {
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "AWS_") {
			if err := os.Unsetenv(name); err != nil {
				return err
			}
		}
	}
	for _, name := range []string{"AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"} {
		if err := os.Setenv(name, os.DevNull); err != nil {
			return err
		}
	}
	return nil
}

// labOnce makes the tour and prints the scorecard.
func labOnce(ctx context.Context, every bool, out, log io.Writer) error {
	scenarios := lab.Scenarios()
	if !every {
		scenarios = slices.DeleteFunc(scenarios, func(s lab.Scenario) bool { return !s.Tour })
	}
	fmt.Fprintf(log, "breaking and healing a private API on 127.0.0.0/8 in %d ways\n", len(scenarios))
	card := newScorecard(out, scenarios)
	err := tour(ctx, scenarios, labs, card.add)
	card.finish()
	switch {
	case ctx.Err() != nil:
		return exit{code: exitInterrupted}
	case err != nil:
		return exit{exitInternal, err}
	case card.failed > 0:
		return exit{code: exitError}
	}
	return nil
}

// labShow breaks the lab in one way and shows the check of the target.
func labShow(ctx context.Context, id string, out io.Writer) error {
	all := lab.Scenarios()
	i := slices.IndexFunc(all, func(s lab.Scenario) bool { return s.ID == id })
	if i < 0 {
		return exit{exitUsage, fmt.Errorf("the lab cannot be broken in the way %q%s", id, config.Suggest(id, scenarioIDs()))}
	}
	l, err := lab.Start()
	if err != nil {
		return exit{exitInternal, err}
	}
	defer l.Close()
	targets, err := labTargets(l)
	if err != nil {
		return exit{exitInternal, err}
	}
	a, err := broken(l, targets, all[i])
	if err != nil {
		return exit{exitInternal, err}
	}
	rounds, err := check(ctx, a, nil, "table", out)
	if err != nil {
		return err
	}
	return verdictExit(ctx, rounds, false)
}

func scenarioIDs() []string {
	var ids []string
	for _, s := range lab.Scenarios() {
		ids = append(ids, s.ID)
	}
	return ids
}

// A scorecard prints truth against verdict, a line for each trial in the order
// of the scenarios, as soon as all lines before it are known.
type scorecard struct {
	w              io.Writer
	order          []string
	waiting        map[string]trial
	passed, failed int
	layer          string
}

func newScorecard(w io.Writer, scenarios []lab.Scenario) *scorecard {
	c := &scorecard{w: w, waiting: map[string]trial{}}
	for _, s := range scenarios {
		c.order = append(c.order, s.ID)
	}
	return c
}

func (c *scorecard) add(t trial) {
	c.waiting[t.ID] = t
	for len(c.order) > 0 {
		t, ok := c.waiting[c.order[0]]
		if !ok {
			return
		}
		c.order = c.order[1:]
		c.print(t)
	}
}

func (c *scorecard) print(t trial) {
	if t.Layer != c.layer {
		c.layer = t.Layer
		fmt.Fprintf(c.w, "\n%s\n", c.layer)
	}
	mark := "ok  "
	if t.passed() {
		c.passed++
	} else {
		c.failed++
		mark = "FAIL"
	}
	fmt.Fprintf(c.w, "  %s  %-58s %s\n", mark, t.Title, orNothing(t.Broken))
	switch {
	case t.Err != nil:
		fmt.Fprintf(c.w, "        it could not be tried: %v\n", t.Err)
	case !slices.Equal(t.Broken, t.Want):
		fmt.Fprintf(c.w, "        the truth: %s\n", orNothing(t.Want))
	}
	if len(t.Healed) > 0 {
		fmt.Fprintf(c.w, "        and after it was healed: %s\n", strings.Join(t.Healed, ", "))
	}
}

func (c *scorecard) finish() { fmt.Fprintf(c.w, "\n%d passed, %d failed\n", c.passed, c.failed) }

func orNothing(ids []string) string {
	if len(ids) == 0 {
		return "(no finding)"
	}
	return strings.Join(ids, ", ")
}

// labLive keeps a lab and the agent running, breaks one thing after another,
// and says what the agent concluded.
func labLive(ctx context.Context, listen string, out, log io.Writer) error {
	l, err := lab.Start()
	if err != nil {
		return exit{exitInternal, err}
	}
	defer l.Close()
	flags := map[string]string{"health_listen": "off"}
	if listen != "" {
		flags["listen"] = listen
	}
	loaded, err := loadLab(l, flags)
	if err != nil {
		return exit{exitUsage, err}
	}
	fmt.Fprintf(out, "A private API is on loopback, and the agent probes it every %v.\n", loaded.Every)
	fmt.Fprintf(out, "Page http://%s/   metrics http://%[1]s/metrics   Ctrl-C ends it.\n\n", loaded.Listen)

	rounds := make(chan agent.Round, 16)
	served := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer cancel()
		quiet := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn}))
		served <- serve(ctx, daemon{config: loaded.Config, system: l.System(), log: quiet, stdout: out, sinks: []agent.Sink{toChannel{rounds}}})
	}()
	show(ctx, l, rounds, out)
	return <-served
}

// toChannel passes rounds on, and drops them while nobody listens.
type toChannel struct{ rounds chan<- agent.Round }

func (c toChannel) Record(u agent.Update) {
	select {
	case c.rounds <- *u.Round:
	default:
	}
}

// show breaks the lab in one live way after another until ctx is done.
func show(ctx context.Context, l *lab.Lab, rounds <-chan agent.Round, out io.Writer) {
	live := slices.DeleteFunc(lab.Scenarios(), func(s lab.Scenario) bool { return s.Break == nil || s.Edit != nil || !s.Tour })
	for i := 0; ; i++ {
		if !watch(ctx, rounds, "", nil, out) {
			return
		}
		s := live[i%len(live)]
		fmt.Fprintf(out, "%s  broke   %s: %s\n", time.Now().Format(time.TimeOnly), s.Target, s.Title)
		l.Break(s.Break)
		if !watch(ctx, rounds, s.Target, s.Want, out) {
			return
		}
		l.Heal()
		fmt.Fprintf(out, "%s  healed\n\n", time.Now().Format(time.TimeOnly))
	}
}

// watch looks on for one scene and says once when the target's findings are
// those that are true. It returns false when ctx is done.
func watch(ctx context.Context, rounds <-chan agent.Round, target string, want []string, out io.Writer) bool {
	end := time.After(scene)
	var last []string
	seen := target == ""
	for {
		select {
		case <-ctx.Done():
			return false
		case r := <-rounds:
			if seen || r.Evidence.Target.Name != target {
				continue
			}
			if last = found(r); slices.Equal(last, want) {
				seen = true
				fmt.Fprintf(out, "%s  agent   %s: %s\n", time.Now().Format(time.TimeOnly), target, orNothing(last))
			}
		case <-end:
			if !seen {
				fmt.Fprintf(out, "%s  agent   %s: %s, but the truth is %s\n", time.Now().Format(time.TimeOnly), target, orNothing(last), orNothing(want))
			}
			return true
		}
	}
}
