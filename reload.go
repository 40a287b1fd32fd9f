package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"vpcprobe/agent"
	"vpcprobe/agent/service"
	"vpcprobe/config"
	"vpcprobe/probes"
	"vpcprobe/probes/all"
)

// A source says where the configuration comes from and which part of it is
// this agent's.
type source struct {
	path  string
	flags map[string]string
	shard shard
}

// A text is what the configuration was at a moment, or why it could not be read.
type text struct {
	bytes []byte
	err   error
}

func (s source) read() text {
	bytes, err := config.Read(s.path, os.Environ())
	return text{bytes, err}
}

// A sum tells texts apart; that the configuration cannot be read counts as one.
type sum [sha256.Size]byte

func (t text) sum() sum {
	if t.err != nil {
		return unreadable(t.err)
	}
	return sha256.Sum256(t.bytes)
}

func unreadable(err error) sum { return sha256.Sum256([]byte("unreadable: " + err.Error())) }

// sum is that of what could be read now. It holds no text: a poll is made all life long.
func (s source) sum() sum {
	text := sha256.New()
	if err := config.Copy(text, s.path, os.Environ()); err != nil {
		return unreadable(err)
	}
	return sum(text.Sum(nil))
}

// parse makes a configuration of its text, without the targets of other shards.
func (s source) parse(t text) (*config.Loaded, error) {
	if t.err != nil {
		return nil, t.err
	}
	loaded, err := config.Parse(t.bytes, config.Options{
		Path: s.path, Env: os.Environ(), Flags: s.flags, Kinds: kindNames(), Findings: findingIDs(),
		Missing: func(t *probes.Target) []string { return agent.Missing(all.Kinds, t) },
	})
	if err != nil {
		return nil, err
	}
	loaded.Targets = s.shard.of(loaded.Targets)
	return loaded, nil
}

func (s source) load() (*config.Loaded, error) { return s.parse(s.read()) }

// fleeting reports whether what the path names can be read only once, as the
// pipe of a process substitution. What is left of it is no configuration.
func (s source) fleeting() bool {
	info, err := os.Stat(s.path)
	return err == nil && !info.Mode().IsRegular() && !info.IsDir()
}

// A shard is the i-th of n parts of the targets, from 0. Its zero value is all
// of them.
type shard struct{ i, n int }

func (s shard) of(targets []*probes.Target) []*probes.Target {
	if s.n == 0 {
		return targets
	}
	var mine []*probes.Target
	for _, t := range targets {
		if agent.Shard(t.Name, s.n) == s.i {
			mine = append(mine, t)
		}
	}
	return mine
}

// A reloader replaces the targets of a running agent when the configuration
// changes. The new ones are read, checked and bound as a whole before they
// take the place of the old ones; whatever is wrong with them changes nothing.
//
// It polls, because everything else misses something: a ConfigMap is changed
// by swapping a symbolic link, an editor renames, and a file may be removed and
// come back.
type reloader struct {
	source
	agent *agent.Agent
	log   *slog.Logger
	tell  func(ok bool) // the metrics

	manager *service.Notifier // may be nil

	mu      sync.Mutex
	running config.Config // without its targets
	seen    sum           // of the text that was read last
	warned  string        // of a proxy
	failure error         // of the latest attempt
}

// newReloader returns a reloader for an agent that runs with what was loaded from
// the text that was seen.
func newReloader(s source, seen sum, c config.Config, a *agent.Agent, log *slog.Logger, tell func(bool)) *reloader {
	r := &reloader{source: s, seen: seen, agent: a, log: log, tell: tell, running: c, warned: proxyWarning(os.Getenv, c.Targets)}
	r.running.Targets = nil
	tell(true)
	return r
}

// poll reloads whenever the configuration has changed, until ctx is done, and
// at each signal.
func (r *reloader) poll(ctx context.Context, every time.Duration, hangup <-chan os.Signal) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
			r.reload()
		case <-tick.C:
			if r.changed() && r.settled(ctx) {
				r.reload()
			}
		}
	}
}

func (r *reloader) changed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.fleeting() && r.sum() != r.seen
}

// settle is for how long the text must stay the same before a poll believes it.
const settle = 100 * time.Millisecond

// settled waits for whoever is writing. A file that is written in place may be
// met half-way, and half a configuration can be a valid one: its targets would
// go and come back without what was known of them. It does not wait for ever;
// false means that ctx is done.
func (r *reloader) settled(ctx context.Context) bool {
	now := r.sum()
	for range 10 {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(settle):
		}
		before := now
		if now = r.sum(); now == before {
			break
		}
	}
	return true
}

// reload reads the configuration and replaces the agent's targets. If that
// fails, nothing has changed, and the error says why.
func (r *reloader) reload() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.manager.Reloading()
	err := r.replace()
	r.tell(err == nil)
	r.failure = nil
	if err != nil {
		r.complain(err)
		r.failure = stays(err)
	}
	r.manager.Ready(probing(r.agent, r.failure)) // also if the configuration was bad: the old one runs on
	return r.failure
}

// probing says in a line what the agent is doing.
func probing(a *agent.Agent, failure error) string {
	s := "probing " + count(a.Stats().Targets, "target")
	if failure != nil {
		s += "; the configuration was not reloaded, the old one stays"
	}
	return s
}

// stays is the error of a reload that changed nothing, with all that is wrong.
func stays(err error) error {
	text := err.Error()
	if problems, ok := errors.AsType[config.Problems](err); ok {
		lines := make([]string, len(problems))
		for i, p := range problems {
			lines[i] = p.String()
		}
		text = strings.Join(lines, "\n")
	}
	return fmt.Errorf("the configuration was not reloaded, the old one stays:\n%s", text)
}

func (r *reloader) replace() error {
	if r.fleeting() {
		return fmt.Errorf("%s is no regular file, and what was read from it is gone: start with -c FILE to be able to reload", r.path)
	}
	text := r.read()
	r.seen = text.sum() // of what is parsed: another may be there by the next reading
	loaded, err := r.parse(text)
	if err != nil {
		return err
	}
	if err := r.agent.Reload(loaded.Targets); err != nil {
		return err
	}
	r.log.Info("reloaded the configuration", "targets", len(loaded.Targets))
	for _, w := range loaded.Warnings {
		r.log.Warn("configuration", "warning", w.String())
	}
	if w := proxyWarning(os.Getenv, loaded.Targets); w != "" && w != r.warned {
		r.log.Warn("environment", "warning", w)
		r.warned = w
	}
	for _, key := range needRestart(r.running, loaded.Config) {
		r.log.Warn("a changed setting needs a restart", "key", key)
	}
	service.FreeMemory() // decoding took many times what the targets take
	return nil
}

// complain logs why the configuration was not reloaded.
func (r *reloader) complain(err error) {
	problems, ok := errors.AsType[config.Problems](err)
	if !ok {
		r.log.Error("the configuration was not reloaded; the old one stays", "error", err)
		return
	}
	for _, p := range problems[:min(len(problems), 20)] {
		r.log.Error("the configuration was not reloaded; the old one stays", "problem", p.String(), "problems", len(problems))
	}
}

// state is the error of the latest attempt to reload, or nil.
func (r *reloader) state() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failure
}

// needRestart lists the keys that differ and that a reload does not change.
func needRestart(old, new config.Config) []string {
	var keys []string
	for key, differs := range map[string]bool{
		"listen":          old.Listen != new.Listen,
		"health_listen":   old.HealthListen != new.HealthListen,
		"concurrency":     old.Concurrency != new.Concurrency,
		"metrics":         old.Metrics != new.Metrics,
		"log":             old.Log != new.Log,
		"reload":          old.Reload != new.Reload,
		"web_config_file": old.WebConfigFile != new.WebConfigFile,
	} {
		if differs {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}
