package artifacts

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// stages parses the Dockerfile as buildkit does.
func stages(t testing.TB) []instructions.Stage {
	t.Helper()
	parsed, err := parser.Parse(strings.NewReader(read(t, at("Dockerfile"))))
	if err != nil {
		t.Fatal(err)
	}
	if len(parsed.Warnings) > 0 {
		t.Errorf("warnings: %v", parsed.Warnings)
	}
	found, _, err := instructions.Parse(parsed.AST, nil)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestDockerfile(t *testing.T) {
	t.Parallel()
	all := stages(t)
	if len(all) != 2 || all[0].Name != "build" {
		t.Fatalf("%d stages", len(all))
	}
	if all[0].Platform != "$BUILDPLATFORM" {
		t.Errorf("the build stage runs on %q: emulated for the other platforms", all[0].Platform)
	}
	build, final := source(all[0]), source(all[1])
	if !strings.Contains(build, "GOOS=$TARGETOS GOARCH=$TARGETARCH .ci/build /vpcprobe") {
		t.Errorf("the build stage does not build for the target:\n%s", build)
	}
	if all[1].BaseName != "scratch" {
		t.Errorf("the image is made from %s", all[1].BaseName)
	}
	for _, c := range all[1].Commands {
		if c.Name() == "RUN" || c.Name() == "ADD" {
			t.Errorf("the final stage has %s", c.Name())
		}
	}
	for _, word := range []string{"date", "$(hostname", "--mount=type=secret"} {
		if strings.Contains(final, word) {
			t.Errorf("the final stage depends on %s", word)
		}
	}
}

// source is a stage's text.
func source(s instructions.Stage) string {
	lines := []string{s.SourceCode}
	for _, c := range s.Commands {
		if with, ok := c.(interface{ String() string }); ok {
			lines = append(lines, with.String())
		}
	}
	return strings.Join(lines, "\n")
}

// The final stage, made of the locally built binary: no registry is needed.
func TestImage(t *testing.T) {
	tool(t, "buildah")
	if os.Geteuid() != 0 {
		t.Skip("SKIP: buildah's chroot isolation needs root here")
	}
	folder := t.TempDir()
	context := filepath.Join(folder, "context")
	place(t, binary, filepath.Join(context, "vpcprobe"), 0o755)
	const roots = "/etc/ssl/certs/ca-certificates.crt"
	if _, err := os.Stat(roots); err != nil {
		t.Skipf("SKIP: %v", err)
	}
	place(t, roots, filepath.Join(context, roots), 0o644)
	write(t, filepath.Join(folder, "Dockerfile"), strings.ReplaceAll(source(stages(t)[1]), "--from=build ", ""))
	buildah := func(args ...string) string {
		return must(t, folder, "buildah", append([]string{"--root", folder + "/root", "--runroot", folder + "/run", "--storage-driver", "vfs"}, args...)...)
	}
	digest := func(name string) string {
		buildah("build", "--isolation", "chroot", "--timestamp", "0", "--no-cache", "--build-arg", "VERSION=v1.2.3", "--build-arg", "REVISION=abc",
			"--tag", name, "--file", folder+"/Dockerfile", context)
		return strings.TrimSpace(buildah("inspect", "--type", "image", "--format", "{{.FromImageDigest}} {{.FromImageID}}", name))
	}
	first := digest("vpcprobe:1")
	if second := digest("vpcprobe:2"); first != second {
		t.Errorf("two builds differ: %s, %s", first, second)
	}
	inspected(t, buildah("inspect", "--type", "image", "vpcprobe:1"))

	container := strings.TrimSpace(buildah("from", "vpcprobe:1"))
	writable := filepath.Join(folder, "tmp")
	if err := os.Mkdir(writable, 0o777); err != nil {
		t.Fatal(err)
	}
	os.Chmod(writable, 0o1777)
	run := func(args ...string) string {
		return alone(t, folder, append([]string{"buildah", "--root", folder + "/root", "--runroot", folder + "/run", "--storage-driver", "vfs",
			"run", "--isolation", "chroot", "--cap-drop", "ALL", "--volume", writable + ":/tmp", container, "--"}, args...)...)
	}
	out := run("/vpcprobe", "version")
	if !strings.HasPrefix(out, "vpcprobe ") {
		t.Errorf("version: %s", out)
	}
	t.Logf("%s", out)
	t.Logf("%s", toured(t, run("/vpcprobe", "lab", "--once")))
	contents(t, strings.TrimSpace(buildah("mount", container)))
}

// place copies a file.
func place(t testing.TB, from, to string, mode os.FileMode) {
	t.Helper()
	write(t, to, read(t, from))
	if err := os.Chmod(to, mode); err != nil {
		t.Fatal(err)
	}
}

func inspected(t testing.TB, text string) {
	t.Helper()
	var image struct {
		OCIv1 struct {
			Config struct {
				User, WorkingDir string
				Entrypoint, Cmd  []string
				Labels           map[string]string
				ExposedPorts     map[string]any
			}
		}
		Docker struct {
			Config struct{ Healthcheck struct{ Test []string } }
		}
	}
	if err := json.Unmarshal([]byte(text), &image); err != nil {
		t.Fatal(err)
	}
	c := image.OCIv1.Config
	if c.User != "65532:65532" || !slices.Equal(c.Entrypoint, []string{"/vpcprobe"}) {
		t.Errorf("user %q, entry point %q", c.User, c.Entrypoint)
	}
	accepted(t, "CMD", c.Cmd)
	for k, want := range map[string]string{"title": "vpcprobe", "version": "v1.2.3", "revision": "abc", "licenses": "Apache-2.0", "source": "https://github.com/vpcprobe/vpcprobe"} {
		if got := c.Labels["org.opencontainers.image."+k]; got != want {
			t.Errorf("label %s: %q", k, got)
		}
	}
	if _, ok := c.Labels["org.opencontainers.image.created"]; ok {
		t.Error("the image says when it was made, so it can be made only once")
	}
	if !strings.Contains(read(t, at("Dockerfile")), `HEALTHCHECK --interval=30s --timeout=5s --start-period=5s --retries=3 CMD ["/vpcprobe", "health"]`) {
		t.Error("no health check")
	}
}

// contents checks that the image holds two files, and prints their size.
func contents(t testing.TB, mount string) {
	t.Helper()
	var files []string
	var size int64
	err := filepath.WalkDir(mount, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		size += info.Size()
		if info.Size() > 0 {
			files = append(files, strings.TrimPrefix(path, mount))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"/etc/ssl/certs/ca-certificates.crt", "/vpcprobe"}; !slices.Equal(files, want) {
		t.Errorf("the image holds %v", files)
	}
	t.Logf("image: %d bytes uncompressed, %v", size, files)
}
