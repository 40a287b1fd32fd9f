package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"vpcprobe/lab/netns"
)

func main() {
	netns.Enter(map[string]netns.Child{"trace": traceChild})
	if len(os.Args) > 1 {
		role := map[string]func([]string) error{"farm": runFarm, "burn": burn}[os.Args[1]]
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
	quick := flag.Bool("quick", false, "two minutes instead of fifteen: fewer figures, shorter windows")
	binary := flag.String("vpcprobe", "", "the agent's `PATH`; built from this module as a release unless given")
	other := flag.String("blackbox", "", "`PATH` of blackbox_exporter, or none; the one in PATH, if any, unless given")
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
	if path := cmp.Or(*other, found("prometheus-blackbox-exporter"), found("blackbox_exporter")); path != "" && path != "none" {
		b.peers = append(b.peers, blackbox(path))
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
	}
	var errs []error
	for _, m := range measurements {
		if len(b.only) > 0 && !slices.Contains(b.only, m.name) {
			continue
		}
		if err := m.do(b); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", m.name, err))
			b.table.note("%s was not measured: %v", m.name, err)
		}
	}
	b.table.write(os.Stdout)
	return errors.Join(errs...)
}
