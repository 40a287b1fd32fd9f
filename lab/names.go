package lab

import (
	"net/netip"
)

// What is found in the lab, under the names and numbers that its
// configuration uses. All addresses are in 127.77/16, or in ranges that are
// reserved for documents or for AWS's own metadata services.
const (
	Region     = "eu-west-1"
	AccountID  = "111122223333"
	VPC        = "vpc-0a1b2c3d4e5f67890"
	API        = "a1b2c3d4e5"
	Stage      = "prod"
	EndpointID = "vpce-0a1b2c3d4e5f67890"

	// EndpointName is the endpoint's own (regional) name; the zonal names
	// have the zone before the first dot.
	EndpointName = EndpointID + "-abcdefgh" + vpceZone

	// PartnersDomain is a Regional custom domain with mutual TLS.
	PartnersDomain = "api.partners.example"

	// CatalogDomain is a private custom domain.
	CatalogDomain = "catalog.internal.example"

	// ControlDomain is somebody else's public web server, which answers to
	// everybody and knows nothing of the APIs.
	ControlDomain = "checkip.public.example"

	// PartnersAPI is what the domain of partners and the private domain of
	// catalog are mapped to.
	PartnersAPI = "p9q8r7s6t5"

	// OtherEndpointID is an endpoint for execute-api in somebody else's VPC,
	// with which the API is not associated.
	OtherEndpointID   = "vpce-0f9e8d7c6b5a43210"
	OtherEndpointName = OtherEndpointID + "-hgfedcba" + vpceZone

	// OtherRegion and its endpoint are for configurations that mix regions.
	OtherRegion         = "eu-central-1"
	FarEndpointID       = "vpce-01234567890abcdef"
	FarEndpointName     = FarEndpointID + "-zyxwvuts.execute-api." + OtherRegion + ".vpce.amazonaws.com"
	executeAPIZone      = ".execute-api." + Region + ".amazonaws.com"
	farExecuteAPIZone   = ".execute-api." + OtherRegion + ".amazonaws.com"
	vpceZone            = ".execute-api." + Region + ".vpce.amazonaws.com"
	privateName         = API + executeAPIZone
	aliasName           = API + "-" + EndpointID + executeAPIZone
	stsName             = "sts." + Region + ".amazonaws.com"
	stsGlobalName       = "sts.amazonaws.com"
	zones               = "abc"
	clientCertificateDN = "CN=orders-client,O=Partner"
)

// Resolvers returns the addresses of the VPC's two resolvers. They listen on
// the lab's port; resolv.conf names the first, and the lab's network leads
// port 53 to where it really is.
func Resolvers() []netip.Addr {
	return []netip.Addr{netip.AddrFrom4([4]byte{127, 77, 0, 2}), netip.AddrFrom4([4]byte{127, 77, 0, 3})}
}

// ENIs returns the addresses of the endpoint's network interfaces, one in each
// of three subnets.
func ENIs() []netip.Addr {
	return []netip.Addr{
		netip.AddrFrom4([4]byte{127, 77, 1, 10}),
		netip.AddrFrom4([4]byte{127, 77, 2, 10}),
		netip.AddrFrom4([4]byte{127, 77, 3, 10}),
	}
}

// The other addresses of the lab: where the world's addresses really lead.
// They are functions of nothing, but Go has no constants of their type.
func otherENI() netip.Addr    { return netip.AddrFrom4([4]byte{127, 77, 9, 10}) }
func farENI() netip.Addr      { return netip.AddrFrom4([4]byte{127, 77, 19, 10}) }
func partnersENI() netip.Addr { return netip.AddrFrom4([4]byte{127, 77, 100, 10}) }
func controlSite() netip.Addr { return netip.AddrFrom4([4]byte{127, 77, 101, 10}) }
func lockAddr() netip.Addr    { return netip.AddrFrom4([4]byte{127, 77, 0, 1}) }
func imdsStub() netip.Addr    { return netip.AddrFrom4([4]byte{127, 77, 0, 254}) }
func ecsStub() netip.Addr     { return netip.AddrFrom4([4]byte{127, 77, 0, 170}) }
func eksStub() netip.Addr     { return netip.AddrFrom4([4]byte{127, 77, 0, 23}) }
func stsStub() netip.Addr     { return netip.AddrFrom4([4]byte{127, 77, 0, 43}) }
func stsPlain() netip.Addr    { return netip.AddrFrom4([4]byte{127, 77, 0, 44}) }
func blackHole() netip.Addr   { return netip.AddrFrom4([4]byte{127, 77, 198, 8}) }
func publicStub() netip.Addr  { return netip.AddrFrom4([4]byte{127, 77, 198, 7}) }

// PublicAddress is what the API's name resolves to outside the VPC, or inside
// it when private DNS is off: an address that callers cannot reach.
func PublicAddress() netip.Addr { return netip.AddrFrom4([4]byte{198, 51, 100, 7}) }

// The well-known addresses of AWS's credential endpoints (AWS SDKs and Tools
// Reference Guide, feature-container-credentials and
// feature-imds-credentials).
func imdsAddress() netip.Addr { return netip.AddrFrom4([4]byte{169, 254, 169, 254}) }
func ecsAddress() netip.Addr  { return netip.AddrFrom4([4]byte{169, 254, 170, 2}) }
func eksAddress() netip.Addr  { return netip.AddrFrom4([4]byte{169, 254, 170, 23}) }
