package artifacts

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	yamlv3 "go.yaml.in/yaml/v3"
)

const service = "deploy/ec2/vpcprobe.service"

// unit reads the unit's settings.
func unit(t testing.TB) map[string][]string {
	t.Helper()
	settings := map[string][]string{}
	for line := range strings.Lines(read(t, at(service))) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(k, "#") {
			settings[k] = append(settings[k], v)
		}
	}
	return settings
}

func TestUnit(t *testing.T) {
	t.Parallel()
	tool(t, "systemd-analyze")
	if out := must(t, root, "systemd-analyze", "security", "--offline=true", "--threshold=15", "--no-pager", at(service)); true {
		t.Log(regexp.MustCompile(`Overall exposure level.*`).FindString(out))
	}
	for _, k := range []string{"CapabilityBoundingSet", "AmbientCapabilities"} {
		if got := unit(t)[k]; len(got) != 1 || got[0] != "" {
			t.Errorf("%s=%q: no probe needs any", k, got)
		}
	}
	installed := t.TempDir()
	place(t, binary, installed+"/usr/bin/vpcprobe", 0o755)
	place(t, "/bin/true", installed+"/bin/kill", 0o755)
	place(t, at(service), installed+"/etc/systemd/system/vpcprobe.service", 0o644)
	for _, target := range []string{"sysinit", "basic", "shutdown", "multi-user", "network-online"} {
		write(t, installed+"/etc/systemd/system/"+target+".target", "[Unit]\nDescription="+target+"\n")
	}
	if out := must(t, root, "systemd-analyze", "verify", "--root="+installed, "vpcprobe.service"); strings.TrimSpace(out) != "" {
		t.Errorf("systemd-analyze verify:\n%s", out)
	}
	for _, command := range unit(t)["ExecStart"] {
		words := strings.Fields(command)
		if words[0] != "/usr/bin/vpcprobe" {
			t.Errorf("ExecStart: %s", command)
		}
		accepted(t, service, words[1:])
	}
}

// The unit's own check can fail.
func TestUnitThatIsWrong(t *testing.T) {
	t.Parallel()
	tool(t, "systemd-analyze")
	loose := filepath.Join(t.TempDir(), "vpcprobe.service")
	write(t, loose, strings.Replace(read(t, at(service)), "CapabilityBoundingSet=\n", "CapabilityBoundingSet=CAP_NET_RAW CAP_NET_ADMIN CAP_SYS_ADMIN\n", 1))
	if _, err := output(t, root, "systemd-analyze", "security", "--offline=true", "--threshold=15", "--no-pager", loose); err == nil {
		t.Error("a unit with capabilities passes")
	}
}

func TestEC2Configuration(t *testing.T) {
	t.Parallel()
	loads(t, "deploy/ec2/vpcprobe.yaml", read(t, at("deploy/ec2/vpcprobe.yaml")))
	var data struct {
		WriteFiles []struct{ Path, Permissions, Content string } `yaml:"write_files"`
		Runcmd     [][]string
	}
	text := read(t, at("deploy/ec2/user-data.yaml"))
	if !strings.HasPrefix(text, "#cloud-config\n") {
		t.Error("cloud-init takes user data for a configuration by its first line")
	}
	decoder := yamlv3.NewDecoder(strings.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&data); err != nil {
		t.Fatal(err)
	}
	for _, f := range data.WriteFiles {
		if f.Path == "/etc/vpcprobe/vpcprobe.yaml" {
			loads(t, "deploy/ec2/user-data.yaml", f.Content)
		}
	}
	if len(data.WriteFiles) != 1 || len(data.Runcmd) < 2 {
		t.Errorf("user data: %+v", data)
	}
}

// The packages hold what they should, and keep the administrator's
// configuration.
func TestPackages(t *testing.T) {
	t.Parallel()
	tool(t, "nfpm")
	build := t.TempDir()
	place(t, binary, build+"/dist/vpcprobe", 0o755)
	if err := os.Symlink(at("deploy"), filepath.Join(build, "deploy")); err != nil {
		t.Fatal(err)
	}
	place(t, at("LICENSE"), build+"/LICENSE", 0o644)
	must(t, build, "sh", "-ec", documentedBuild(t))
	if built, err := filepath.Glob(build + "/dist/*.deb"); err != nil || len(built) != 1 {
		t.Errorf("the instruction in nfpm.yaml built %v", built)
	}
	for _, kind := range []string{"deb", "rpm"} {
		out := must(t, build, "env", "ARCH=amd64", "VERSION=1.2.3", "nfpm", "package", "--config", "deploy/ec2/nfpm.yaml", "--packager", kind, "--target", "dist/vpcprobe."+kind)
		t.Log(strings.TrimSpace(out))
		first := read(t, build+"/dist/vpcprobe."+kind)
		must(t, build, "env", "ARCH=amd64", "VERSION=1.2.3", "nfpm", "package", "--config", "deploy/ec2/nfpm.yaml", "--packager", kind, "--target", "dist/again."+kind)
		if kind == "deb" && read(t, build+"/dist/again.deb") != first { // an rpm says when it was built
			t.Error("two builds of the deb differ")
		}
	}
	t.Run("deb", func(t *testing.T) { deb(t, build+"/dist/vpcprobe.deb") })
	t.Run("rpm", func(t *testing.T) { rpm(t, build+"/dist/vpcprobe.rpm") })
}

// documentedBuild are the commands in the header of nfpm.yaml, but for the one
// that builds the binary, which is there.
func documentedBuild(t testing.TB) string {
	t.Helper()
	var commands strings.Builder
	header, _, _ := strings.Cut(read(t, at("deploy/ec2/nfpm.yaml")), "\nname:")
	for _, m := range regexp.MustCompile(`(?m)^#   (.*)$`).FindAllStringSubmatch(header, -1) {
		if m[1] != ".ci/build dist/vpcprobe" {
			commands.WriteString(m[1] + "\n")
		}
	}
	return commands.String()
}

// installed are the files of a package.
var installed = []string{
	"/usr/bin/vpcprobe", "/usr/lib/systemd/system/vpcprobe.service", "/etc/vpcprobe/vpcprobe.yaml",
	"/usr/share/doc/vpcprobe/copyright", "/usr/share/bash-completion/completions/vpcprobe", "/usr/share/zsh/site-functions/_vpcprobe",
}

func deb(t *testing.T, file string) {
	tool(t, "dpkg-deb")
	list := must(t, root, "dpkg-deb", "--contents", file)
	for _, f := range installed {
		if !strings.Contains(list, " ."+f+"\n") {
			t.Errorf("the deb lacks %s:\n%s", f, list)
		}
	}
	control := t.TempDir()
	must(t, root, "dpkg-deb", "--control", file, control)
	if got := read(t, control+"/conffiles"); got != "/etc/vpcprobe/vpcprobe.yaml\n" {
		t.Errorf("conffiles: %q", got)
	}
	into := t.TempDir()
	must(t, root, "dpkg-deb", "--extract", file, into)
	ran(t, into)
}

func rpm(t *testing.T, file string) {
	tool(t, "rpm")
	list := must(t, root, "rpm", "-qlp", file)
	for _, f := range installed {
		if !strings.Contains(list, f+"\n") {
			t.Errorf("the rpm lacks %s:\n%s", f, list)
		}
	}
	if got := must(t, root, "rpm", "-qp", "--queryformat", "[%{FILENAMES} %{FILEFLAGS:fflags}\n]", file); !strings.Contains(got, "/etc/vpcprobe/vpcprobe.yaml cn\n") {
		t.Errorf("the configuration is not config(noreplace):\n%s", got)
	}
	for _, script := range []string{"systemctl daemon-reload", "systemctl --no-reload disable --now vpcprobe.service"} {
		if !strings.Contains(must(t, root, "rpm", "-qp", "--scripts", file), script) {
			t.Errorf("no script says %s", script)
		}
	}
	if _, err := output(t, root, "sh", "-c", "command -v rpm2cpio && command -v cpio"); err != nil {
		t.Log("SKIP: cpio is not installed: the rpm is not unpacked")
		return
	}
	into := t.TempDir()
	must(t, into, "sh", "-c", `rpm2cpio "$0" | cpio -idm --quiet --no-absolute-filenames`, file)
	ran(t, into)
}

// ran checks that an unpacked package's binary runs and takes its configuration.
func ran(t testing.TB, into string) {
	t.Helper()
	must(t, root, into+"/usr/bin/vpcprobe", "config", "validate", into+"/etc/vpcprobe/vpcprobe.yaml")
}

// The scripts of the packages are valid for the shell that runs them.
func TestPackageScripts(t *testing.T) {
	t.Parallel()
	for _, f := range []string{"postinstall.sh", "preremove.sh"} {
		must(t, root, "sh", "-n", at("deploy/ec2/"+f))
	}
	// Without systemd they do nothing, and succeed: in a container, or in the
	// build of an image.
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		t.Skip("SKIP: systemd runs here, and the scripts would speak to it")
	}
	for _, args := range [][]string{{"postinstall.sh", "configure"}, {"preremove.sh", "remove"}, {"preremove.sh", "upgrade"}, {"preremove.sh", "0"}} {
		must(t, at("deploy/ec2"), "sh", args...)
	}
}
