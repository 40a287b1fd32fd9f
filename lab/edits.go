package lab

import (
	"fmt"
	"path/filepath"

	"vpcprobe/probes"
)

// The ways in which scenarios misconfigure a caller. They get a shallow copy
// of a target: they replace what they change, and never change what slices
// hold.

func withoutAddresses(t *probes.Target) { t.Endpoint.Addresses = nil }

// onlyIPv6 is a caller that uses no IPv4, though nothing here has other addresses.
func onlyIPv6(t *probes.Target) {
	withoutAddresses(t)
	t.IPFamily = probes.IPv6
}

func twoAddresses(t *probes.Target) { t.Endpoint.Addresses = ENIs()[:2] }

func inRegion(region string) func(*probes.Target) {
	return func(t *probes.Target) { t.Region = region }
}

func farEndpoint(t *probes.Target) {
	t.Endpoint = probes.Endpoint{ID: FarEndpointID, DNSName: FarEndpointName}
	t.Via = []probes.Via{probes.ViaPrivateDNS, probes.ViaEndpoint}
}

func withoutClientCertificate(t *probes.Target) { t.ClientCertificate = probes.ClientCertificate{} }

func unsigned(t *probes.Target) { t.Sign = false }

func withoutAPIKey(t *probes.Target) { t.APIKey = probes.Secret{} }

// lostAPIKey looks for the API key where it is not.
func lostAPIKey(t *probes.Target) { t.APIKey = probes.Secret{File: beside(t, "no-such-file")} }

// lostTruststore looks for the truststore where it is not.
func lostTruststore(t *probes.Target) { t.ClientCertificate.Truststore = beside(t, "no-such-file") }

// at calls another path.
func at(path string) func(*probes.Target) {
	return func(t *probes.Target) { t.Path = path }
}

func unsignedAt(path string) func(*probes.Target) {
	return func(t *probes.Target) { t.Sign, t.Path = false, path }
}

func withoutKeyAt(path string) func(*probes.Target) {
	return func(t *probes.Target) { t.APIKey, t.Path = probes.Secret{}, path }
}

func method(name string) func(*probes.Target) {
	return func(t *probes.Target) { t.Method = name }
}

func stage(name string) func(*probes.Target) {
	return func(t *probes.Target) { t.Stage = name }
}

// stageInPath writes the stage where a path is to be.
func stageInPath(name string) func(*probes.Target) {
	return func(t *probes.Target) { t.Stage, t.Path = "", "/"+name+t.Path }
}

// beside returns the path of another file in the lab's folder.
func beside(t *probes.Target, name string) string {
	return filepath.Join(filepath.Dir(t.Trust.CAFile), name)
}

func trustProxy(t *probes.Target) { t.Trust.CAFile = beside(t, proxyRootsFile) }

func bearer(t *probes.Target) {
	t.Headers = []probes.Header{{Name: "Authorization", Secret: probes.Secret{File: beside(t, bearerFile)}}}
}

// guarded calls the path behind the authorizer, with a token that it knows.
func guarded(t *probes.Target) {
	withoutKeyAt("/guarded")(t)
	bearer(t)
}

func bearerInsteadOfSignature(t *probes.Target) {
	t.Sign = false
	bearer(t)
}

// byEndpointName calls the endpoint's own name as if it were a domain.
func byEndpointName(t *probes.Target) {
	t.Domain, t.Sign = EndpointName, false
	t.Path = "/" + Stage + "/status"
}

func tenant(t *probes.Target) {
	withoutKeyAt("/status")(t)
	asTenant(t)
}

// asTenant says whose request it is.
func asTenant(t *probes.Target) {
	t.Headers = []probes.Header{{Name: "X-Tenant", Value: "tenant-7"}}
}

// withControl names a public page of somebody else.
func withControl(t *probes.Target) {
	t.Control = probes.Control{URL: fmt.Sprintf("https://%s:%d/", ControlDomain, t.Port), Body: `^[0-9.]+\s*$`}
}
