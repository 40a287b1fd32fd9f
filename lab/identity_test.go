package lab

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"
)

// retrieve gets credentials through the real default chain, with the lab's
// environment for a source and the lab's network.
func (l *Lab) retrieve(t *testing.T, source string) (aws.Credentials, error) {
	t.Helper()
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "") // so that it is restored
			os.Unsetenv(name)
		}
	}
	for _, v := range l.Environment(source) {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
	// Not the SDK's own client: for IMDS that replaces DialContext. The
	// container endpoints do not use the configured client unless told so.
	client := l.hermetic()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	cfg, err := config.LoadDefaultConfig(ctx, config.WithHTTPClient(client), config.WithRetryMaxAttempts(1),
		config.WithEndpointCredentialOptions(func(o *endpointcreds.Options) { o.HTTPClient = client }))
	if err != nil {
		return aws.Credentials{}, err
	}
	return cfg.Credentials.Retrieve(ctx)
}

func TestSources(t *testing.T) {
	l := start(t)
	for _, source := range []string{SourceIMDS, SourceECS, SourceEKS, SourceWebIdentity} {
		c, err := l.retrieve(t, source)
		if err != nil || c.AccessKeyID != AccessKeyID || c.SecretAccessKey != SecretAccessKey || c.SessionToken != SessionToken {
			t.Errorf("%s: %v from %s, %v", source, c.AccessKeyID, c.Source, err)
		}
		if left := time.Until(c.Expires); !c.CanExpire || left > time.Hour || left < 50*time.Minute {
			t.Errorf("%s: %v left, want an hour", source, left)
		}
	}
	if c, err := l.retrieve(t, "nothing"); err == nil {
		t.Errorf("without a source there are credentials: %v", c.Source)
	}
}

func TestSourcesWithout(t *testing.T) {
	for _, fault := range []Fault{NoCredentials, CredentialsSilent} {
		l := start(t, fault)
		for _, source := range []string{SourceIMDS, SourceECS, SourceEKS, SourceWebIdentity} {
			if c, err := l.retrieve(t, source); err == nil {
				t.Errorf("%s: %v", source, c.Source)
			}
		}
		l.Heal()
		if _, err := l.retrieve(t, SourceIMDS); err != nil {
			t.Errorf("not healed: %v", err)
		}
	}
}

// hermetic is an HTTP client in the lab.
func (l *Lab) hermetic() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: l.System().Network.DialContext, DisableKeepAlives: true}}
}

func TestCredentialsFor(t *testing.T) {
	t.Parallel()
	l := start(t, CredentialsFor(7*time.Minute))
	response, err := l.hermetic().Get("http://169.254.170.2" + ecsPath)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var c credentials
	if err := json.NewDecoder(response.Body).Decode(&c); err != nil {
		t.Fatal(err)
	}
	expires, err := time.Parse(time.RFC3339, c.Expiration)
	if left := time.Until(expires); err != nil || left > 7*time.Minute || left < 6*time.Minute {
		t.Errorf("%v left, %v; want seven minutes", left, err)
	}
}

// IMDS answers nobody without a token: it is version 2 only.
func TestIMDSWantsToken(t *testing.T) {
	t.Parallel()
	l := start(t)
	response, err := l.hermetic().Get("http://169.254.169.254/latest/meta-data/iam/security-credentials/")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusUnauthorized {
		t.Errorf("%s, want 401", response.Status)
	}
}

// signed signs a request with the lab's credentials, as the SDK does it.
func signed(t *testing.T, region string) func(*http.Request, *tls.Config) {
	return func(r *http.Request, _ *tls.Config) {
		empty := sha256.Sum256(nil)
		creds := aws.Credentials{AccessKeyID: AccessKeyID, SecretAccessKey: SecretAccessKey, SessionToken: SessionToken}
		if err := v4.NewSigner().SignHTTP(t.Context(), creds, r, hex.EncodeToString(empty[:]), "execute-api", region, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
}

// last is the truth about the latest request.
func (l *Lab) last(t *testing.T) string {
	t.Helper()
	requests := l.Requests()
	if len(requests) == 0 {
		t.Fatal("no request arrived")
	}
	return requests[len(requests)-1].Row
}

// Each fault of API Gateway leads to the row of FACTS.md that it is meant to
// be an instance of, for the request that scenarios make.
func TestModelFaults(t *testing.T) {
	t.Parallel()
	l := start(t)
	sign := signed(t, Region)
	key, bearer := withHeader("X-Api-Key", APIKey), withHeader("Authorization", "Bearer "+BearerToken)
	plain := func(*http.Request, *tls.Config) {}
	const health, invoices, guarded, status = "/prod/health", "/prod/invoices", "/prod/guarded", "/prod/status"
	for _, tt := range []struct {
		name   string
		fault  Fault
		path   string
		edit   func(*http.Request, *tls.Config)
		status int
		row    string
	}{
		{"healthy, signed", func(*Lab) {}, health, sign, 200, ""},
		{"healthy, key", func(*Lab) {}, invoices, key, 200, ""},
		{"healthy, token", func(*Lab) {}, guarded, bearer, 200, ""},
		{"unsigned", func(*Lab) {}, health, plain, 403, "B1"},
		{"another region", func(*Lab) {}, health, signed(t, OtherRegion), 403, "D4"},
		{"bearer for signature", func(*Lab) {}, health, bearer, 403, "C1"},
		{"ResourcePolicySilent", ResourcePolicySilent, invoices, key, 403, "A4"},
		{"ResourcePolicySilent, signed", ResourcePolicySilent, health, sign, 200, ""},
		{"ResourcePolicyForRole", ResourcePolicyForRole, invoices, key, 403, "A4"},
		{"ResourcePolicyDenies", ResourcePolicyDenies, health, sign, 403, "A3"},
		{"EndpointPolicySilent", EndpointPolicySilent, health, sign, 403, "A5"},
		{"EndpointPolicyDenies", EndpointPolicyDenies, health, sign, 403, "A6"},
		{"IdentityPolicySilent", IdentityPolicySilent, health, sign, 403, "A7"},
		{"IdentityPolicyDenies", IdentityPolicyDenies, health, sign, 403, "A3"},
		{"OrganizationDenies", OrganizationDenies, health, sign, 403, "A8"},
		{"ResourceControlDenies", ResourceControlDenies, health, sign, 403, "A8"},
		{"BoundarySilent", Faults(ResourcePolicySilent, BoundarySilent), health, sign, 403, "A8"},
		{"SessionSilent", Faults(ResourcePolicySilent, SessionSilent), health, sign, 403, "A8"},
		{"AuthorizerNarrow", AuthorizerNarrow, guarded, bearer, 403, "A2"},
		{"AccessKeyUnknown", AccessKeyUnknown, health, sign, 403, "A10"},
		{"CredentialsExpired", CredentialsExpired, health, sign, 403, "A11"},
		{"SecretWrong", SecretWrong, health, sign, 403, "D3"},
		{"ClockAhead", ClockAhead, health, sign, 403, "D2"},
		{"ClockBehind", ClockBehind, health, sign, 403, "D1"},
		{"NotRedeployed", NotRedeployed, health, sign, 403, "B2"},
		{"StageDeleted", StageDeleted, health, sign, 403, "F7"},
		{"APIDeleted", APIDeleted, health, sign, 403, "F11"},
		{"APIPublic", APIPublic, health, sign, 403, "F8"},
		{"DefaultEndpointDisabled", DefaultEndpointDisabled, health, sign, 403, "F4"},
		{"APIKeyDisabled", APIKeyDisabled, invoices, key, 403, "F1"},
		{"APIKeyUnplanned", APIKeyUnplanned, invoices, key, 403, "F1"},
		{"WAFBroken", WAFBroken, status, plain, 500, "500"},
		{"Throttled", Throttled, invoices, key, 429, "429"},
		{"QuotaSpent", QuotaSpent, invoices, key, 429, "429 quota"},
	} {
		l.Break(tt.fault)
		got, err := l.get(t, ENIs()[0], privateName, tt.path, tt.edit)
		if err != nil || got.status != tt.status || l.last(t) != tt.row {
			t.Errorf("%s: %+v of row %q, %v; want %d of row %q", tt.name, got, l.last(t), err, tt.status, tt.row)
		}
		l.Heal()
	}
}

// The faults of custom domains.
func TestDomainFaults(t *testing.T) {
	t.Parallel()
	l := start(t)
	for _, tt := range []struct {
		name       string
		fault      Fault
		addr       netip.Addr
		host, path string
		presents   bool
		status     int
		row        string
	}{
		{name: "CatalogUnmapped", fault: CatalogUnmapped, addr: ENIs()[0], host: CatalogDomain, path: "/items", status: 403, row: "F6"},
		{name: "DomainNotAssociated", fault: DomainNotAssociated, addr: ENIs()[0], host: CatalogDomain, path: "/items", status: 403, row: "F9"},
		{name: "the stage left in", fault: func(*Lab) {}, addr: ENIs()[0], host: CatalogDomain, path: "/prod/items", status: 403, row: "B2"},
		{name: "BasePathUnmapped", fault: BasePathUnmapped, addr: partnersENI(), host: PartnersDomain, path: "/status", presents: true, status: 403, row: "F6"},
		{name: "StrictAccess, its own name", fault: StrictAccess, addr: ENIs()[0], host: privateName, path: "/prod/status", status: 200, row: ""},
		{name: "StrictAccess, the endpoint's name", fault: StrictAccess, addr: ENIs()[0], host: EndpointName, path: "/prod/status", status: 403, row: "F10"},
		{name: "the endpoint's name alone", fault: StrictAccess, addr: otherENI(), host: OtherEndpointName, path: "/prod/status", status: 403, row: "F10"},
	} {
		l.Break(tt.fault)
		edit := withHeader("X-Apigw-Api-Id", API)
		switch {
		case tt.presents:
			edit = l.presenting(t)
		case !strings.HasPrefix(tt.host, "vpce-"):
			edit = func(*http.Request, *tls.Config) {}
		}
		got, err := l.get(t, tt.addr, tt.host, tt.path, edit)
		if err != nil || got.status != tt.status || l.last(t) != tt.row {
			t.Errorf("%s: %+v of row %q, %v; want %d of row %q", tt.name, got, l.last(t), err, tt.status, tt.row)
		}
		l.Heal()
	}
}

// What the lab writes for its callers is private to them.
func TestFilesArePrivate(t *testing.T) {
	t.Parallel()
	l := start(t)
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", e.Name(), info.Mode(), err)
		}
	}
	for name, want := range map[string]string{apiKeyFile: APIKey, bearerFile: BearerToken, webIdentityFile: WebIdentity} {
		if b, err := os.ReadFile(l.file(name)); err != nil || !bytes.Contains(b, []byte(want)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
