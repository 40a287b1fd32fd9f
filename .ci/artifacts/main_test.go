package artifacts

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"vpcprobe/config"
	"vpcprobe/probes/all"
)

var update = flag.Bool("update", false, "write anew what is generated or copied")

// root is the product's folder, and binary its release binary, which TestMain
// builds.
var root, binary string

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if root, err = filepath.Abs("../.."); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	folder, err := os.MkdirTemp("", "vpcprobe")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(folder)
	os.Chmod(folder, 0o755) // nobody runs it, too
	binary = filepath.Join(folder, "vpcprobe")
	if out, err := exec.Command(filepath.Join(root, ".ci/build"), binary).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the binary: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// at is a path in the product's folder.
func at(path string) string { return filepath.Join(root, path) }

func read(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// tool skips the test if a command is missing.
func tool(t testing.TB, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("SKIP: %s is not installed", name)
	}
}

// output runs a command in a folder and returns what it wrote, standard error
// included.
func output(t testing.TB, folder, name string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = folder
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// must runs a command that has to succeed.
func must(t testing.TB, folder, name string, args ...string) string {
	t.Helper()
	out, err := output(t, folder, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

func kinds() []string {
	var names []string
	for _, k := range all.Kinds {
		names = append(names, k.Name)
	}
	return names
}

func findings() []string {
	var ids []string
	for _, k := range all.Kinds {
		for _, r := range k.Rules {
			ids = append(ids, r.ID)
		}
	}
	return ids
}

// loads checks that the agent takes a configuration without a remark, but for
// files and variables that are not here.
func loads(t testing.TB, where, text string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "vpcprobe.yaml")
	write(t, path, text)
	loaded, err := config.Load(config.Options{
		Path: path, Env: []string{"TENANT=probe", "CREDENTIALS_DIRECTORY=/run/credentials/vpcprobe.service", "ORDERS_API_KEY=k"},
		Kinds: kinds(), Findings: findings(),
	})
	if err != nil {
		t.Errorf("%s: the agent refuses the configuration:\n%v\n%s", where, err, text)
		return
	}
	for _, w := range loaded.Warnings {
		if !strings.Contains(w.Message, "does not exist yet") {
			t.Errorf("%s: %v", where, w)
		}
	}
	if len(loaded.Targets) == 0 {
		t.Errorf("%s: no targets", where)
	}
}

// accepted checks that the binary knows a command line, without running it.
func accepted(t testing.TB, where string, args []string) {
	t.Helper()
	if out, err := output(t, root, binary, append(args[:len(args):len(args)], "--help")...); err != nil {
		t.Errorf("%s: vpcprobe %s: %v\n%s", where, strings.Join(args, " "), err, out)
	}
}

// same checks that a file is a copy of another.
func same(t testing.TB, source, copied string) {
	t.Helper()
	want := read(t, at(source))
	if *update {
		write(t, at(copied), want)
	}
	if read(t, at(copied)) != want {
		t.Errorf("%s is not a copy of %s: run .ci/artifacts/run -update", copied, source)
	}
}
