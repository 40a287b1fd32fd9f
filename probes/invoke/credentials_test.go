package invoke

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"vpcprobe/lab"
	"vpcprobe/probes"
	"vpcprobe/probes/handshake"
)

// counting counts what is dialed through it.
type counting struct {
	probes.Network
	dialed atomic.Int32
}

func (c *counting) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	c.dialed.Add(1)
	return c.Network.DialContext(ctx, network, address)
}

// environment leaves no AWS variable but these.
func environment(t *testing.T, variables ...string) {
	t.Helper()
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "") // so that it is restored
			os.Unsetenv(name)
		}
	}
	for _, v := range variables {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
}

func startLab(t *testing.T, faults ...lab.Fault) (*lab.Lab, *counting) {
	t.Helper()
	l, err := lab.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	for _, f := range faults {
		l.Break(f)
	}
	return l, &counting{Network: l.System().Network}
}

// Credentials come through the real default chain from each source, once for
// all who ask at the same time and after.
func TestSources(t *testing.T) {
	l, network := startLab(t)
	for _, source := range []string{lab.SourceIMDS, lab.SourceECS, lab.SourceEKS, lab.SourceWebIdentity} {
		environment(t, l.Environment(source)...)
		c := NewCredentials(network)
		var wg sync.WaitGroup
		before := network.dialed.Load()
		get := func() {
			creds, err := c.Get(context.Background(), "", lab.Region, time.Second)
			if err != nil || creds.AccessKeyID != lab.AccessKeyID || creds.SessionToken != lab.SessionToken {
				t.Errorf("%s: %q, %v", source, creds.AccessKeyID, err)
			}
		}
		get()
		once := network.dialed.Load() - before
		for range 20 {
			wg.Go(get)
		}
		wg.Wait()
		if n := network.dialed.Load() - before; once == 0 || n != once {
			t.Errorf("%s: dialed %d times for the first, %d for all", source, once, n)
		}
	}
}

// They are fetched anew before they expire, when they were refused, and when
// what cannot expire has become old.
func TestFresh(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, tt := range []struct {
		name    string
		fetched time.Duration // ago
		expires time.Duration // from now; 0 for never
		want    bool
	}{
		{"just fetched", 0, time.Hour, true},
		{"long to go", 30 * time.Minute, 30 * time.Minute, true},
		{"soon over", 55 * time.Minute, 4 * time.Minute, false},
		{"soon over, but just fetched", 10 * time.Second, 4 * time.Minute, true},
		{"over", 10 * time.Second, -time.Second, false},
		{"without end", time.Minute, 0, true},
		{"without end, old", 6 * time.Minute, 0, false},
	} {
		k := &keptCredentials{fetched: now.Add(-tt.fetched)}
		k.creds.AccessKeyID, k.creds.SecretAccessKey = "a", "b"
		if tt.expires != 0 {
			k.creds.CanExpire, k.creds.Expires = true, now.Add(tt.expires)
		}
		if got := k.fresh(now); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
	if (&keptCredentials{fetched: now}).fresh(now) {
		t.Error("none at all are fresh")
	}
}

// silent is a network on which nobody answers.
type silent struct{ dialed atomic.Int32 }

func (s *silent) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	s.dialed.Add(1)
	<-ctx.Done()
	return nil, ctx.Err()
}

// While the source is silent, good credentials are good for all who ask, also
// for those who ask at the same time; and it is not asked over and over.
func TestSilentSourceBeforeTheyExpire(t *testing.T) {
	environment(t)
	network := &silent{}
	c := NewCredentials(network)
	k := c.of("")
	k.fetched = time.Now().Add(-time.Hour)
	k.creds.AccessKeyID, k.creds.SecretAccessKey = "AKIAOLD", "x"
	k.creds.CanExpire, k.creds.Expires = true, time.Now().Add(4*time.Minute)
	var wg sync.WaitGroup
	get := func() {
		creds, err := c.Get(context.Background(), "", lab.Region, 300*time.Millisecond)
		if err != nil || creds.AccessKeyID != "AKIAOLD" {
			t.Errorf("%q, %v", creds.AccessKeyID, err)
		}
	}
	for range 16 {
		wg.Go(get)
	}
	wg.Wait()
	once := network.dialed.Load()
	for range 3 {
		get()
	}
	if n := network.dialed.Load(); once == 0 || n != once {
		t.Errorf("the source was dialed %d times by the first, and %d times in all", once, n)
	}
}

func TestForget(t *testing.T) {
	l, network := startLab(t)
	environment(t, l.Environment(lab.SourceIMDS)...)
	c := NewCredentials(network)
	get := func() { c.Get(context.Background(), "", lab.Region, time.Second) }
	get()
	first := network.dialed.Load()
	c.Forget("")
	get()
	if n := network.dialed.Load(); n != first {
		t.Errorf("good credentials were fetched again: %d instead of %d", n, first)
	}
	environment(t, "AWS_ACCESS_KEY_ID=AKIAOLD", "AWS_SECRET_ACCESS_KEY=x")
	c = NewCredentials(network)
	get()
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIANEW")
	c.Forget("")
	if creds, err := c.Get(context.Background(), "", lab.Region, time.Second); err != nil || creds.AccessKeyID != "AKIANEW" {
		t.Errorf("%s, %v", creds.AccessKeyID, err)
	}
}

// A failure says which source failed, within its time, and what is known to
// cause it.
func TestSourcesFail(t *testing.T) {
	for name, fault := range map[string]lab.Fault{"none": lab.NoCredentials, "silence": lab.CredentialsSilent} {
		l, network := startLab(t, fault)
		for source, want := range map[string]string{
			lab.SourceIMDS: "instance-metadata", lab.SourceECS: "container", lab.SourceEKS: "container", lab.SourceWebIdentity: "web-identity",
		} {
			environment(t, l.Environment(source)...)
			_, err := NewCredentials(network).Get(context.Background(), "", lab.Region, 200*time.Millisecond)
			f, ok := errors.AsType[*CredentialsFault](err)
			if !ok || f.Source != want || f.Hint == "" || f.Reason == "" {
				t.Errorf("%s, %s: %+v", name, source, f)
			}
		}
	}
}

func TestProfiles(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "credentials")
	if err := os.WriteFile(file, []byte("[one]\naws_access_key_id=AKIAONE\naws_secret_access_key=x\n[two]\naws_access_key_id=AKIATWO\naws_secret_access_key=y\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, network := startLab(t)
	environment(t, "AWS_SHARED_CREDENTIALS_FILE="+file, "AWS_CONFIG_FILE="+filepath.Join(dir, "none"), "AWS_EC2_METADATA_DISABLED=true")
	c := NewCredentials(network)
	for profile, want := range map[string]string{"one": "AKIAONE", "two": "AKIATWO"} {
		creds, err := c.Get(context.Background(), profile, "eu-west-1", time.Second)
		if err != nil || creds.AccessKeyID != want {
			t.Errorf("%s: %s, %v", profile, creds.AccessKeyID, err)
		}
	}
	_, err := c.Get(context.Background(), "three", "eu-west-1", time.Second)
	if f, ok := errors.AsType[*CredentialsFault](err); !ok || f.Source != `profile "three"` {
		t.Errorf("an unknown profile: %v", err)
	}
}

// Without credentials nothing is sent, and the finding says so.
func TestCredentialsMissing(t *testing.T) {
	environment(t, "AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=/nowhere", "AWS_SHARED_CREDENTIALS_FILE=/nowhere")
	w := newWorld(t, says("HTTP/1.1 200 OK\r\n\r\n"), func(w *world) { w.target.Sign = true })
	o := w.call(t)
	if o.Outcome != probes.Fault || len(w.requests()) > 0 || Of(o).Failed == nil {
		t.Fatalf("%s, %v, %d requests", o.Outcome, o.Err, len(w.requests()))
	}
	if len(o.Phases) != 1 || o.Phases[0].Name != probes.PhaseCredentials {
		t.Errorf("phases %v", o.Phases)
	}
	found := probes.Diagnose(Rules, probes.Evidence{Target: w.target}.With("invoke", []probes.Observation{o}))
	if len(found) != 1 || found[0].Rule.ID != "credentials-missing" || len(found[0].Notes) != 1 {
		t.Errorf("%v", found)
	}
}

// Secrets and profiles that cannot be opened for want of descriptors are not
// missing, and another source's credentials are not those of the first: nothing
// is found, and nothing sent.
func TestSecretsWithoutDescriptors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "credentials")
	must(t, os.WriteFile(file, []byte("[one]\naws_access_key_id = AKIAONE\naws_secret_access_key = one\n"), 0o600))
	environment(t, "AWS_SHARED_CREDENTIALS_FILE="+file, "AWS_CONFIG_FILE=/nowhere")
	for name, edit := range map[string]func(*probes.Target){
		"an API key": func(target *probes.Target) { target.APIKey = secret(t, "a") },
		"a header": func(target *probes.Target) {
			target.Headers = []probes.Header{{Name: "X-A", Secret: secret(t, "a")}}
		},
		"a profile":         func(target *probes.Target) { target.Sign, target.Profile = true, "one" },
		"the default chain": func(target *probes.Target) { target.Sign = true },
	} {
		w := newWorld(t, says("HTTP/1.1 200 OK\r\n\r\n"), func(w *world) { edit(w.target) })
		client := w.client(t)
		conn, opened := client.Open(t.Context(), w.lane, handshake.Variant{})
		if conn == nil {
			t.Fatal(opened.Err)
		}
		defer conn.Close()
		var some syscall.Rlimit
		must(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &some))
		must(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Max: some.Max}))
		o := client.Do(t.Context(), conn, w.lane, false, Request{})
		must(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &some))
		if o.Outcome != probes.Fault || !errors.Is(o.Err, syscall.EMFILE) || len(w.requests()) > 0 {
			t.Errorf("%s: %s (%v), %d requests", name, o.Outcome, o.Err, len(w.requests()))
		}
		seen := probes.Evidence{Target: w.target}.With("invoke", []probes.Observation{o})
		if found := probes.Diagnose(Rules, seen); len(found) > 0 {
			t.Errorf("%s: found %v", name, found)
		}
	}
}
