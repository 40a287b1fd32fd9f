package lab

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"vpcprobe/probes"
)

// The findings that must have a scenario: all that a walk can name, except
// those that take routers to show, which are in package netns.
const findings = `
	private-dns-off name-not-found name-without-address resolver-silent resolver-unreachable resolver-failing
	resolver-refuses resolver-tcp-blocked resolver-bad-reply one-family-failing nameserver-failing resolvers-disagree
	wrong-addresses addresses-outdated alias-not-associated hosts-override endpoint-not-found region-mismatch names-disagree

	traffic-dropped subnet-dropped connection-refused connection-reset no-route traffic-prohibited connection-intermittent

	client-cert-key-mismatch client-cert-expired client-cert-expiring client-cert-weak client-cert-self-signed
	client-cert-altered client-cert-untrusted client-cert-unreadable client-cert-no-client-auth client-cert-expired-accepted
	truststore-warnings truststore-unreadable truststore-chain-incomplete truststore-chain-too-long
	truststore-invalid-cert truststore-subject-conflict truststore-weak-cert truststore-too-large

	server-cert-untrusted server-cert-wrong-name server-cert-expired server-cert-expiring client-cert-required
	client-cert-rejected client-cert-not-asked tls-version-refused tls-not-spoken strict-endpoint-access
	connection-cut handshake-stalled handshake-broken handshake-refused

	resource-policy-silent resource-policy-denies endpoint-policy-silent endpoint-policy-denies identity-policy-silent
	identity-policy-denies organization-policy-denies authorizer-denies authorizer-policy-narrow authorizer-unauthorized
	authorizer-failed caller-anonymous access-key-invalid credentials-expired credentials-missing request-unsigned
	path-not-found method-not-found stage-in-path not-redeployed authorization-malformed clock-behind clock-ahead
	signature-mismatch signing-scope-wrong api-key-rejected waf-blocked waf-challenge host-not-recognized
	default-endpoint-disabled base-path-unmapped stage-not-found public-api-captured domain-not-associated api-not-found
	backend-denied backend-error integration-failed integration-timeout throttled quota-exceeded not-api-gateway
	proxy-in-the-way status-unexpected body-unexpected secret-missing request-invalid waf-failed answer-timeout answer-cut
	client-cert-distrusted`

func TestEveryFindingHasAScenario(t *testing.T) {
	t.Parallel()
	wanted := map[string]bool{}
	for _, s := range Scenarios() {
		for _, id := range s.Want {
			wanted[id] = true
		}
	}
	for _, id := range strings.Fields(findings) {
		if !wanted[id] {
			t.Errorf("no scenario leads to %s", id)
		}
	}
}

func TestScenariosAreWellFormed(t *testing.T) {
	t.Parallel()
	l := start(t)
	layers := []string{"resolve", "connect", "identify", "handshake", "invoke"}
	kebab := regexp.MustCompile(`^[a-z0-9]+([-.][a-z0-9]+)*$`)
	seen := map[string]bool{}
	last := 0
	tour := 0
	for _, s := range Scenarios() {
		switch at := slices.Index(layers, s.Layer); {
		case seen[s.ID]:
			t.Errorf("%s: twice", s.ID)
		case !kebab.MatchString(s.ID):
			t.Errorf("%s: not in kebab-case", s.ID)
		case at < last:
			t.Errorf("%s: layer %q is out of order", s.ID, s.Layer)
		case s.Title == "" || strings.HasSuffix(s.Title, "."):
			t.Errorf("%s: title %q", s.ID, s.Title)
		case s.Break == nil && s.Edit == nil:
			t.Errorf("%s: nothing is wrong", s.ID)
		case !slices.IsSorted(s.Want) || len(slices.Compact(slices.Clone(s.Want))) != len(s.Want):
			t.Errorf("%s: wants %v, which is not a sorted set", s.ID, s.Want)
		case !strings.Contains(l.Config(), "- name: "+s.Target+"\n"):
			t.Errorf("%s: no target %q", s.ID, s.Target)
		default:
			last = at
		}
		seen[s.ID] = true
		if s.Tour {
			tour++
		}
	}
	if tour < 15 {
		t.Errorf("%d scenarios are in the tour, want 15 at least", tour)
	}
}

// Edits replace what they change: a target is copied, what it points to is not.
func TestEditsShareNothing(t *testing.T) {
	t.Parallel()
	make := func() *probes.Target {
		return &probes.Target{
			Settings: &probes.Settings{
				Via:      []probes.Via{probes.ViaPrivateDNS, probes.ViaEndpoint, probes.ViaAlias},
				Endpoint: probes.Endpoint{Addresses: ENIs()},
				Headers:  []probes.Header{{Name: "X-Kept", Value: "1"}},
				Expect:   probes.Expect{Status: []int{200}},
				Trust:    probes.Trust{CAFile: "/lab/roots.pem"},
			},
		}
	}
	for _, s := range Scenarios() {
		if s.Edit == nil {
			continue
		}
		before := make()
		after := before.Clone()
		s.Edit(after)
		want := make()
		if !slices.Equal(before.Via, want.Via) || !slices.Equal(before.Endpoint.Addresses, want.Endpoint.Addresses) ||
			!slices.Equal(before.Headers, want.Headers) || !slices.Equal(before.Expect.Status, want.Expect.Status) {
			t.Errorf("%s changes what the original shares with its copy", s.ID)
		}
	}
}

// Whatever was broken, a healed lab is whole.
func TestEveryScenarioHeals(t *testing.T) {
	t.Parallel()
	l := start(t)
	for _, s := range Scenarios() {
		if s.Break == nil {
			continue
		}
		l.Break(s.Break)
		l.Heal()
		for _, addr := range ENIs() {
			if err := l.dial(t, addr); err != nil {
				t.Fatalf("after %s: %v", s.ID, err)
			}
		}
		if got, err := l.get(t, ENIs()[1], privateName, "/prod/invoices", withHeader("X-Api-Key", APIKey)); err != nil || got.status != 200 {
			t.Fatalf("after %s: %+v, %v", s.ID, got, err)
		}
		if got, err := l.get(t, partnersENI(), PartnersDomain, "/status", l.presenting(t)); err != nil || got.status != 200 {
			t.Fatalf("after %s: %+v, %v", s.ID, got, err)
		}
	}
}
