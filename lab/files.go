package lab

import (
	"bytes"
	"fmt"
	"os"
	"strings"
)

// The files of the lab, in its own folder.
const (
	rootsFile       = "roots.pem"       // the authority that servers' certificates come from
	proxyRootsFile  = "proxy-roots.pem" // that, and the authority of the intercepting proxy
	apiKeyFile      = "api-key"
	bearerFile      = "bearer"
	certificateFile = "client.pem"
	keyFile         = "client.key"
	truststoreFile  = "truststore.pem"
	webIdentityFile = "web-identity-token"
	containerFile   = "container-token"
	emptyFile       = "empty"
)

// writeFixed writes what no fault changes.
func (l *Lab) writeFixed() error {
	roots := pemOf(l.issuers.authorities[trusted].root().cert)
	for name, content := range map[string]string{
		rootsFile:       string(roots),
		proxyRootsFile:  string(roots) + string(pemOf(l.issuers.authorities[proxy].root().cert)),
		apiKeyFile:      APIKey + "\n",
		bearerFile:      "Bearer " + BearerToken + "\n",
		webIdentityFile: WebIdentity,
		containerFile:   containerToken,
		emptyFile:       "",
	} {
		if err := l.write(name, []byte(content)); err != nil {
			return err
		}
	}
	return nil
}

// writeFiles writes what faults change.
func (l *Lab) writeFiles(s *state) error {
	resolvConf := "# The lab's network leads port 53 to where the resolvers really are.\noptions timeout:1 attempts:1\n"
	for _, addr := range s.nameservers {
		resolvConf += fmt.Sprintf("nameserver %v\n", addr)
	}
	for name, content := range map[string][]byte{
		"resolv.conf":   []byte(resolvConf),
		"hosts":         []byte("127.0.0.1 localhost\n" + s.hosts),
		certificateFile: s.credential.certificate,
		keyFile:         s.credential.key,
		truststoreFile:  s.credential.truststore,
	} {
		if err := l.write(name, content); err != nil {
			return err
		}
	}
	return nil
}

// write replaces a file in one step, unless it has that content already.
func (l *Lab) write(name string, content []byte) error {
	if old, err := os.ReadFile(l.file(name)); err == nil && bytes.Equal(old, content) {
		return nil
	}
	if err := os.WriteFile(l.file(name)+".new", content, 0o600); err != nil {
		return err
	}
	return os.Rename(l.file(name)+".new", l.file(name))
}

// Config is a configuration file, for the real loader, with the targets of the
// healthy lab:
//
//   - orders, a private API by three name forms, signed;
//   - billing, another path of it that needs an API key;
//   - partners, a Regional custom domain with mutual TLS;
//   - catalog, a private custom domain, signed.
func (l *Lab) Config() string {
	var addrs []string
	for _, a := range ENIs() {
		addrs = append(addrs, a.String())
	}
	first, second := l.at(Resolvers()[0]), l.at(Resolvers()[1])
	return strings.NewReplacer(
		"$ADDRESSES", strings.Join(addrs, ", "),
		"$RESOLVER1", first.String(), "$RESOLVER2", second.String(),
		"$PORT", fmt.Sprint(l.port), "$DIR", l.dir,
	).Replace(configTemplate)
}

const configTemplate = `# A VPC on loopback: every address is in 127/8, every name is invented.
every: 1s
timeout: 2s
targets:
  - name: orders
    kind: private-api
    api: ` + API + `
    region: ` + Region + `
    stage: ` + Stage + `
    path: /health
    via: [private-dns, endpoint, alias]
    endpoint:
      id: ` + EndpointID + `
      dns_name: ` + EndpointName + `
      addresses: [$ADDRESSES]
    resolvers: ["$RESOLVER1", "$RESOLVER2"]
    port: $PORT
    sign: true
    trust: {ca_file: "$DIR/` + rootsFile + `"}
  - name: billing
    kind: private-api
    api: ` + API + `
    region: ` + Region + `
    stage: ` + Stage + `
    path: /invoices
    endpoint:
      id: ` + EndpointID + `
      dns_name: ` + EndpointName + `
      addresses: [$ADDRESSES]
    resolvers: [system]
    port: $PORT
    api_key: {file: "$DIR/` + apiKeyFile + `"}
    trust: {ca_file: "$DIR/` + rootsFile + `"}
  - name: partners
    kind: custom-domain
    domain: ` + PartnersDomain + `
    region: ` + Region + `
    path: /status
    resolvers: ["$RESOLVER1"]
    port: $PORT
    trust: {ca_file: "$DIR/` + rootsFile + `"}
    client_certificate:
      certificate: "$DIR/` + certificateFile + `"
      key: "$DIR/` + keyFile + `"
      truststore: "$DIR/` + truststoreFile + `"
  - name: catalog
    kind: custom-domain
    domain: ` + CatalogDomain + `
    region: ` + Region + `
    path: /items
    endpoint:
      id: ` + EndpointID + `
      dns_name: ` + EndpointName + `
      addresses: [$ADDRESSES]
    resolvers: [system]
    port: $PORT
    sign: true
    trust: {ca_file: "$DIR/` + rootsFile + `"}
`
