package main

import (
	"cmp"
	"context"
	"debug/buildinfo"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"vpcprobe/lab/netns"
)

func main() {
	netns.Enter(map[string]netns.Child{"trace": traceChild})
	if len(os.Args) > 1 {
		role := map[string]func([]string) error{"farm": runFarm, "burn": burn, "bare": bare}[os.Args[1]]
		if role != nil {
			os.Exit(report(role(os.Args[2:])))
		}
	}
	os.Exit(run())
}

func report(err error) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	return 0
}

// run reads the flags and measures.
func run() int {
	layers := flag.String("layers", "", "the layers to measure, separated by commas: dns, tcp, tls, https, walk; all of them unless given")
	quick := flag.Bool("quick", false, "fewer figures, shorter windows")
	binary := flag.String("vpcprobe", "", "the agent's `PATH`; built from this module as a release unless given")
	given := map[string]*string{}
	for _, o := range programs {
		given[o.flag] = flag.String(o.flag, "", "`PATH` of "+o.names[len(o.names)-1]+", or none; the one in PATH, if any, unless given")
	}
	only := flag.String("only", "", "the measurements to make, separated by commas: "+strings.Join(names(), ", "))
	flag.Parse()
	if flag.NArg() > 0 {
		return report(fmt.Errorf("unknown argument %q", flag.Arg(0)))
	}
	folder, err := os.MkdirTemp("", "vpcprobe-bench-")
	if err != nil {
		return report(err)
	}
	defer os.RemoveAll(folder)
	if *binary == "" { // built outside, where the build cache and perhaps a network are
		*binary = filepath.Join(folder, "vpcprobe")
		if err := build(*binary); err != nil {
			return report(err)
		}
		os.Args = append(os.Args, "-vpcprobe", *binary)
	}
	if code, done := isolated(folder); done {
		return code
	}
	b := &bench{folder: folder, quick: *quick, client: newClient(), peers: []*peer{vpcprobe(*binary)}}
	if *layers != "" {
		b.layers = strings.Split(*layers, ",")
	}
	if *only != "" {
		b.only = strings.Split(*only, ",")
	}
	for _, o := range programs {
		path := *given[o.flag]
		for _, name := range o.names {
			path = cmp.Or(path, found(name))
		}
		if path != "" && path != "none" {
			b.peers = append(b.peers, o.peer(path))
		}
	}
	for _, p := range b.peers {
		p.version = versionOf(p.binary)
	}
	return report(b.all())
}

// build builds the agent as it is released.
func build(path string) error {
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return fmt.Errorf("the module to build the agent from: %w", err)
	}
	cmd := exec.Command(filepath.Join(strings.TrimSpace(string(root)), ".ci", "build"), path)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the agent: %w\n%s", err, out)
	}
	return nil
}

// programs are the peers beside the agent.
var programs = []struct {
	flag  string
	names []string // of the program
	peer  func(binary string) *peer
}{
	{"blackbox", []string{"prometheus-blackbox-exporter", "blackbox_exporter"}, blackbox},
	{"cloudprober", []string{"cloudprober"}, cloudprober},
	{"gatus", []string{"gatus"}, gatus},
}

var release = regexp.MustCompile(`v?\d+\.\d+\.\d+\S*`)

// versionOf is the version that a program was built as, or says that it is.
func versionOf(path string) string {
	if info, err := buildinfo.ReadFile(path); err == nil && release.MatchString(info.Main.Version) {
		return info.Main.Version
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	said, _ := exec.CommandContext(ctx, path, "--version").CombinedOutput()
	return cmp.Or(release.FindString(string(said)), "(unreleased)")
}

func found(name string) string {
	path, _ := exec.LookPath(name)
	return path
}

// measurements are what can be measured, in order.
var measurements = []struct {
	name string
	do   func(*bench) error
}{
	{"cost", (*bench).cost},
	{"memory", (*bench).memory},
	{"lateness", (*bench).lateness},
	{"start", (*bench).starting},
	{"detection", (*bench).detection},
	{"scrape", (*bench).scrape},
	{"rate", (*bench).rate},
	{"overload", (*bench).overload},
	{"accuracy", (*bench).accuracy},
	{"trace", (*bench).traces},
}

func names() (all []string) {
	for _, m := range measurements {
		all = append(all, m.name)
	}
	return all
}

// all makes the measurements and prints the table. One that fails does not
// take the others with it.
func (b *bench) all() error {
	if err := writeCerts(b.folder); err != nil {
		return err
	}
	var err error
	if b.farm, err = startFarm(nil, b.folder); err != nil {
		return fmt.Errorf("the farm: %w", err)
	}
	defer b.farm.stop()
	for _, p := range b.peers {
		b.table.peers = append(b.table.peers, p.name)
		b.table.versions = append(b.table.versions, p.name+" "+p.version)
	}
	var errs []error
	for _, m := range measurements {
		if len(b.only) > 0 && !slices.Contains(b.only, m.name) {
			continue
		}
		begin := time.Now()
		if err := m.do(b); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", m.name, err))
			b.table.note("%s was not measured: %v", m.name, err)
		}
		fmt.Fprintf(os.Stderr, "%s took %v\n", m.name, time.Since(begin).Round(time.Second))
	}
	for _, r := range b.table.rows {
		if math.IsNaN(at(r.values, 0)) {
			errs = append(errs, fmt.Errorf("%s: no figure of the agent's", r.figure))
		}
	}
	b.table.write(os.Stdout)
	return errors.Join(errs...)
}
