package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"vpcprobe/agent"
	"vpcprobe/config"
	"vpcprobe/lab"
)

// lookups are targets of the lab that are only looked up, ten times a second.
// An entry is a name, or a name and another path.
func lookups(l *lab.Lab, entries ...string) string {
	var b strings.Builder
	b.WriteString("targets:\n")
	for _, e := range entries {
		name, path, _ := strings.Cut(e, "/")
		fmt.Fprintf(&b, "  - name: %s\n    kind: custom-domain\n    domain: %s\n    path: /%s\n    every: 100ms\n    kinds: [resolve]\n    resolvers: [\"%v:%d\"]\n",
			name, lab.PartnersDomain, path, lab.Resolvers()[0], l.Port())
	}
	return b.String()
}

// A changing configuration is a service whose file a test changes.
type changing struct {
	*running
	lab  *lab.Lab
	head string
	path string
}

const quickly = onFreePorts + "reload: {every: 100ms, http: true}\n"

// change starts a service that watches a file in a new folder, with two
// targets.
func change(t *testing.T, head string) *changing {
	t.Helper()
	c := &changing{lab: startLab(t), head: head}
	c.path = write(t, t.TempDir(), "vpcprobe.yaml", c.text("a", "b"))
	c.running = launch(t, source{path: c.path}, c.lab.System())
	c.targets("a", "b")
	return c
}

func (c *changing) text(entries ...string) string { return c.head + lookups(c.lab, entries...) }

// targets waits until these are the configured targets.
func (c *changing) targets(names ...string) {
	c.t.Helper()
	c.eventually("targets "+strings.Join(names, " "), func() bool { return slices.Equal(c.names(), names) })
}

// well waits until the latest reload is known to have been good, or bad.
func (c *changing) well(ok bool) {
	c.t.Helper()
	c.eventually(fmt.Sprintf("the latest reload is good: %v", ok), func() bool {
		v, _ := c.metric("config_last_reload_successful")
		return (v == 1) == ok && (c.document().ConfigurationError == "") == ok
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A ConfigMap's file is a link to a link to a folder; an update makes a new
// folder and swaps the link in the middle. The file's own link never changes.
func TestReloadOfAConfigMap(t *testing.T) {
	l := startLab(t)
	dir := t.TempDir()
	version := func(n int, text string) {
		folder := fmt.Sprintf("..2026_11_22_%d", n)
		must(t, os.Mkdir(filepath.Join(dir, folder), 0o700))
		write(t, filepath.Join(dir, folder), "vpcprobe.yaml", text)
		must(t, os.Symlink(folder, filepath.Join(dir, "..data_tmp")))
		must(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
		os.RemoveAll(filepath.Join(dir, fmt.Sprintf("..2026_11_22_%d", n-1)))
	}
	version(1, quickly+lookups(l, "a", "b"))
	path := filepath.Join(dir, "vpcprobe.yaml")
	must(t, os.Symlink(filepath.Join("..data", "vpcprobe.yaml"), path))
	c := &changing{running: launch(t, source{path: path}, l.System()), lab: l}
	c.targets("a", "b")
	for n := 2; n <= 4; n++ {
		version(n, quickly+lookups(l, "a", fmt.Sprintf("v%d", n)))
		c.targets("a", fmt.Sprintf("v%d", n))
	}
	c.well(true)
}

// An editor writes a new file and renames it over the old one.
func TestReloadOfARenamedFile(t *testing.T) {
	c := change(t, quickly)
	for _, name := range []string{"c", "d"} {
		next := write(t, filepath.Dir(c.path), ".vpcprobe.yaml.swp", c.text("a", name))
		must(t, os.Rename(next, c.path))
		c.targets("a", name)
	}
}

func TestReloadOfAFileWrittenInPlace(t *testing.T) {
	c := change(t, quickly)
	info, err := os.Stat(c.path)
	must(t, err)
	write(t, filepath.Dir(c.path), "vpcprobe.yaml", c.text("a", "x"))
	must(t, os.Chtimes(c.path, info.ModTime(), info.ModTime())) // as large and as old as before
	c.targets("a", "x")
}

// A file that is gone changes nothing, and is found when it comes back: with
// the same text or with another.
func TestReloadOfAFileThatWasAway(t *testing.T) {
	c := change(t, quickly)
	for _, names := range [][]string{{"a", "b"}, {"a", "c"}} {
		must(t, os.Remove(c.path))
		c.well(false)
		if got := c.names(); !slices.Contains(got, "a") || len(got) != 2 {
			t.Errorf("without a file the targets are %v", got)
		}
		write(t, filepath.Dir(c.path), "vpcprobe.yaml", c.text(names...))
		c.targets(names...)
		c.well(true)
	}
}

// A bad file changes nothing, and says so in the log, in the metrics, in the
// status and in the answer to the request; the targets are walked on.
func TestReloadOfABadFile(t *testing.T) {
	c := change(t, quickly)
	loadedAt, _ := c.metric("config_last_reload_success_timestamp_seconds")
	write(t, filepath.Dir(c.path), "vpcprobe.yaml", c.text("a", "z")+"    pathh: /x\n    timeout: 5\n")
	c.well(false)
	line := strings.Count(c.text("a", "z"), "\n") + 1
	problem := fmt.Sprintf("vpcprobe.yaml:%d:", line)
	if text := c.document().ConfigurationError; !strings.Contains(text, problem) || !strings.Contains(text, "pathh") || strings.Count(text, "\n") < 2 {
		t.Errorf("the status does not say both problems with their places: %s", text)
	}
	code, text := c.do("POST", "/-/reload")
	if code != http.StatusUnprocessableEntity || !strings.Contains(text, problem) || !strings.Contains(text, "the old one stays") {
		t.Errorf("POST: %d %s", code, text)
	}
	if log := c.log.String(); !strings.Contains(log, problem) || !strings.Contains(log, "level=ERROR") {
		t.Errorf("the log does not say it: %s", log)
	}
	if at, _ := c.metric("config_last_reload_success_timestamp_seconds"); at != loadedAt {
		t.Errorf("the configuration in force is said to be of %v, it is of %v", at, loadedAt)
	}
	c.targets("a", "b")
	walks, _ := c.metric(`walks_total{target="a",verdict="reachable"}`)
	c.eventually("the old targets are walked on", func() bool {
		v, _ := c.metric(`walks_total{target="a",verdict="reachable"}`)
		return v > walks
	})
	write(t, filepath.Dir(c.path), "vpcprobe.yaml", c.text("a", "c"))
	c.targets("a", "c")
	c.well(true)
}

// What did not change keeps its counters and its history; what did starts
// anew, and what is gone leaves the metrics.
func TestReloadKeepsWhatDidNotChange(t *testing.T) {
	c := change(t, quickly)
	walks := func(name string) float64 {
		v, _ := c.metric(fmt.Sprintf(`walks_total{target=%q,verdict="reachable"}`, name))
		return v
	}
	c.eventually("some walks", func() bool { return walks("a") >= 5 && walks("b") >= 5 })
	since := c.document().Targets[0].Since
	a := walks("a")
	write(t, filepath.Dir(c.path), "vpcprobe.yaml", c.text("a", "b/other", "c"))
	c.targets("a", "b", "c")
	if got := walks("b"); got >= 5 {
		t.Errorf("the changed target has %v walks", got)
	}
	if got := walks("a"); got < a {
		t.Errorf("the unchanged target had %v walks and has %v", a, got)
	}
	if got := c.document().Targets[0].Since; since == nil || got == nil || !got.Equal(*since) {
		t.Errorf("the unchanged target is well since %v, was since %v", got, since)
	}
	write(t, filepath.Dir(c.path), "vpcprobe.yaml", c.text("a"))
	c.targets("a")
	if _, text := c.do("GET", "/metrics"); strings.Contains(text, `target="b"`) || strings.Contains(text, `target="c"`) {
		t.Errorf("targets that are gone are left in the metrics:\n%s", text)
	}
	if code, _ := c.do("GET", "/probe?target=b"); code != http.StatusNotFound {
		t.Errorf("/probe of a target that is gone: %d", code)
	}
}

// SIGHUP reloads, however seldom the file is looked at.
func TestReloadBySignal(t *testing.T) {
	guard := make(chan os.Signal, 1)
	signal.Notify(guard, syscall.SIGHUP) // a signal that comes late does not end the tests
	defer signal.Stop(guard)
	c := change(t, onFreePorts+"reload: {every: 1h}\n")
	write(t, filepath.Dir(c.path), "vpcprobe.yaml", c.text("a", "c"))
	must(t, syscall.Kill(os.Getpid(), syscall.SIGHUP))
	c.targets("a", "c")
	write(t, filepath.Dir(c.path), "vpcprobe.yaml", "targets: [")
	must(t, syscall.Kill(os.Getpid(), syscall.SIGHUP))
	c.well(false)
}

func TestReloadByRequest(t *testing.T) {
	c := change(t, onFreePorts+"reload: {every: 1h, http: true}\n")
	write(t, filepath.Dir(c.path), "vpcprobe.yaml", c.text("a", "c"))
	if code, text := c.do("POST", "/-/reload", "Sec-Fetch-Site", "cross-site"); code != http.StatusForbidden {
		t.Errorf("from another site's page: %d %s", code, text)
	}
	if code, text := c.do("POST", "/-/reload", "Origin", "http://elsewhere.example"); code != http.StatusForbidden {
		t.Errorf("from another site's page, in the clear: %d %s", code, text)
	}
	if code, text := c.do("GET", "/-/reload"); code != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d %s", code, text)
	}
	c.targets("a", "b")
	if code, text := c.do("POST", "/-/reload"); code != http.StatusOK || text != "reloaded\n" {
		t.Errorf("POST: %d %s", code, text)
	}
	c.targets("a", "c")
}

// Unless the configuration allows it, a request reloads nothing.
func TestReloadByRequestIsOff(t *testing.T) {
	c := change(t, onFreePorts+"reload: {every: 1h}\n")
	write(t, filepath.Dir(c.path), "vpcprobe.yaml", c.text("a", "c"))
	if code, text := c.do("POST", "/-/reload"); code != http.StatusForbidden {
		t.Errorf("%d %s", code, text)
	}
	c.targets("a", "b")
}

// However many reload at once, and whatever the file says meanwhile, the
// targets are those of the last good text, and those that were there all along
// have kept their counters.
func TestReloadStorm(t *testing.T) {
	c := change(t, quickly)
	c.eventually("walks", func() bool { v, _ := c.metric(`walks_total{target="a",verdict="reachable"}`); return v >= 3 })
	before, _ := c.metric(`walks_total{target="a",verdict="reachable"}`)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := range 25 {
				text := c.text("a", fmt.Sprintf("x%d-%d", i, n))
				if n%5 == 4 {
					text = "targets: [oops"
				}
				next := filepath.Join(filepath.Dir(c.path), fmt.Sprintf("next%d", i))
				if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
					t.Error(err)
				}
				if err := os.Rename(next, c.path); err != nil {
					t.Error(err)
				}
				if code, text := c.do("POST", "/-/reload"); code != http.StatusOK && code != http.StatusUnprocessableEntity {
					t.Errorf("%d %s", code, text)
				}
			}
		})
	}
	wg.Wait()
	write(t, filepath.Dir(c.path), "vpcprobe.yaml", c.text("a", "b"))
	c.targets("a", "b")
	c.well(true)
	if after, _ := c.metric(`walks_total{target="a",verdict="reachable"}`); after < before {
		t.Errorf("the target that was always there had %v walks and has %v", before, after)
	}
	if n, _ := c.metric("targets"); n != 2 {
		t.Errorf("%v targets", n)
	}
}

// reloaderOf is the reloader of an agent that was made of a text and does not run.
func reloaderOf(t *testing.T, l *lab.Lab, s source, text text, log *slog.Logger) *reloader {
	t.Helper()
	loaded, err := s.parse(text)
	must(t, err)
	a, err := newAgent(&loaded.Config, l.System(), log)
	must(t, err)
	return newReloader(s, text.sum(), loaded.Config, a, log, func(bool) {})
}

// Who writes a file in place may be caught half-way, and half a configuration
// can be a valid one: it must not make targets come and go.
func TestReloadWaitsForTheWriter(t *testing.T) {
	l := startLab(t)
	path := write(t, t.TempDir(), "vpcprobe.yaml", onFreePorts+lookups(l, "a", "b", "c"))
	synctest.Test(t, func(t *testing.T) {
		log := &journal{}
		r := reloaderOf(t, l, source{path: path}, source{path: path}.read(), slog.New(slog.NewTextHandler(log, nil)))
		var polling sync.WaitGroup
		ctx, stop := context.WithCancel(t.Context())
		defer func() { stop(); polling.Wait() }()
		polling.Go(func() { r.poll(ctx, 10*time.Second, nil) })
		whole := onFreePorts + lookups(l, "a", "b", "d")
		half := onFreePorts + lookups(l, "a")
		time.Sleep(10*time.Second - time.Millisecond)
		must(t, os.WriteFile(path, []byte(half), 0o600))
		time.Sleep(2 * time.Millisecond) // the poll has seen it
		synctest.Wait()
		must(t, os.WriteFile(path, []byte(whole), 0o600))
		time.Sleep(20 * time.Second)
		if got := targetNames(r.agent.Status()); !slices.Equal(got, []string{"a", "b", "d"}) {
			t.Errorf("targets %v", got)
		}
		if n := strings.Count(log.String(), "reloaded the configuration"); n != 1 {
			t.Errorf("%d reloads, want one:\n%s", n, log)
		}
	})
}

// What a poll sees is what a reload reads, and it does not hold it: a poll is made
// every few seconds, and a configuration may be some MB.
func TestPollHoldsNoText(t *testing.T) {
	folder := t.TempDir()
	large := source{path: write(t, folder, "large.yaml", strings.Repeat("# not a target\n", 1<<18))}
	larger := source{path: write(t, folder, "larger.yaml", strings.Repeat("x", 16<<20+1))}
	t.Setenv("CONFIGURATION", "listen: off\n")
	for _, s := range []source{large, larger, {path: "env:CONFIGURATION"}, {path: "env:MISSING"}, {path: folder}, {path: folder + "/missing"}} {
		if s.sum() != s.read().sum() {
			t.Errorf("%s: a poll sees another text than a reload reads", s.path)
		}
	}
	if large.sum() == larger.sum() {
		t.Error("two texts have one sum")
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	large.sum()
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
		t.Errorf("a poll of 4 MB took %d bytes", used)
	}
}

// A change while the agent starts is one: what counts is the text that was loaded.
func TestReloadOfAChangeDuringTheStart(t *testing.T) {
	l := startLab(t)
	s := source{path: write(t, t.TempDir(), "vpcprobe.yaml", onFreePorts+lookups(l, "a"))}
	text := s.read()
	write(t, filepath.Dir(s.path), "vpcprobe.yaml", onFreePorts+lookups(l, "a", "b"))
	r := reloaderOf(t, l, s, text, slog.New(slog.DiscardHandler))
	if !r.changed() {
		t.Error("the change counts as loaded")
	}
	must(t, r.reload())
	if r.changed() {
		t.Error("what was loaded counts as changed")
	}
	if got := probing(r.agent, r.state()); got != "probing 2 targets" {
		t.Errorf("%q", got)
	}
	write(t, filepath.Dir(s.path), "vpcprobe.yaml", "targets: [")
	if r.reload() == nil {
		t.Error("a bad file was loaded")
	}
	if got := probing(r.agent, r.state()); got != "probing 2 targets; the configuration was not reloaded, the old one stays" {
		t.Errorf("%q", got)
	}
}

// What can be read only once is not read again: the pipe of a process
// substitution is empty by then, which is no change of the configuration, and a
// named one would be waited for.
func TestReloadReadsNoPipe(t *testing.T) {
	l := startLab(t)
	out, in, err := os.Pipe()
	must(t, err)
	defer out.Close()
	_, err = in.WriteString(onFreePorts + lookups(l, "a"))
	must(t, err)
	must(t, in.Close())
	s := source{path: fmt.Sprintf("/dev/fd/%d", out.Fd())}
	r := reloaderOf(t, l, s, s.read(), slog.New(slog.DiscardHandler))
	if r.changed() {
		t.Error("a pipe that was read counts as changed")
	}
	if err := r.reload(); err == nil || !strings.Contains(err.Error(), "start with -c FILE") {
		t.Errorf("%v", err)
	}
	if got := targetNames(r.agent.Status()); !slices.Equal(got, []string{"a"}) {
		t.Errorf("targets %v", got)
	}
}

func targetNames(rounds []agent.Round) (names []string) {
	for _, r := range rounds {
		names = append(names, r.Evidence.Target.Name)
	}
	return names
}

// The shards of a configuration partition its targets; a reload keeps to the
// shard, and a target stays in its shard whatever else comes or goes.
func TestShardsPartitionTheTargets(t *testing.T) {
	l := startLab(t)
	var all []string
	for i := range 200 {
		all = append(all, fmt.Sprintf("t%03d", i))
	}
	path := write(t, t.TempDir(), "vpcprobe.yaml", lookups(l, all...))
	fewer := write(t, t.TempDir(), "vpcprobe.yaml", lookups(l, all[:100]...))
	owner := map[string]string{}
	for _, part := range []string{"0/3", "vpcprobe-1/3", "agents-of-ours-2/3"} {
		s := source{path: path}
		must(t, s.shard.parse(part))
		loaded, err := s.load()
		must(t, err)
		if n := len(loaded.Targets); n < 40 || n > 95 {
			t.Errorf("%s has %d of 200 targets", part, n)
		}
		for _, target := range loaded.Targets {
			if o := owner[target.Name]; o != "" {
				t.Errorf("%s is of %s and of %s", target.Name, o, part)
			}
			owner[target.Name] = part
		}
		s.path = fewer
		loaded, err = s.load()
		must(t, err)
		for _, target := range loaded.Targets {
			if owner[target.Name] != part {
				t.Errorf("%s moved from %s to %s", target.Name, owner[target.Name], part)
			}
		}
	}
	if len(owner) != len(all) {
		t.Errorf("%d of %d targets belong to a shard", len(owner), len(all))
	}
}

func TestReloadKeepsToTheShard(t *testing.T) {
	l := startLab(t)
	path := write(t, t.TempDir(), "vpcprobe.yaml", quickly+lookups(l, "a", "b", "c", "d"))
	src := source{path: path, shard: shard{1, 2}}
	mine := func(names ...string) []string {
		return slices.DeleteFunc(names, func(n string) bool { return agent.Shard(n, 2) != 1 })
	}
	c := &changing{running: launch(t, src, l.System()), lab: l}
	c.targets(mine("a", "b", "c", "d")...)
	write(t, filepath.Dir(path), "vpcprobe.yaml", quickly+lookups(l, "c", "d", "e", "f", "g", "h"))
	c.targets(mine("c", "d", "e", "f", "g", "h")...)
}

// A setting that a reload cannot change is named, so that nobody waits for it.
func TestReloadNamesWhatNeedsARestart(t *testing.T) {
	old := config.Config{Listen: "127.0.0.1:1", HealthListen: "127.0.0.1:2", Concurrency: 1}
	if got := needRestart(old, old); len(got) > 0 {
		t.Errorf("nothing changed: %v", got)
	}
	changed := config.Config{
		Listen: "127.0.0.1:3", HealthListen: "off", Concurrency: 2, WebConfigFile: "web.yml",
		Metrics: config.Metrics{EMF: true}, Log: config.Log{Level: "debug"}, Reload: config.Reload{HTTP: true},
	}
	want := []string{"concurrency", "health_listen", "listen", "log", "metrics", "reload", "web_config_file"}
	if got := needRestart(old, changed); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
