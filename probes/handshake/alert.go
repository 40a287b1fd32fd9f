package handshake

import (
	"errors"
	"fmt"
	"net"
	"reflect"
)

// The alerts that the rules know (RFC 8446, section 6.2).
const (
	alertHandshakeFailure    = 40
	alertBadCertificate      = 42
	alertUnsupported         = 43
	alertRevoked             = 44
	alertExpired             = 45
	alertCertificateUnknown  = 46
	alertUnknownCA           = 48
	alertAccessDenied        = 49
	alertDecryptError        = 51
	alertProtocolVersion     = 70
	alertUnrecognizedName    = 112
	alertCertificateRequired = 116
	alertNoProtocol          = 120
)

// Alert returns the TLS alert that err says came from the peer: its number and
// its name in RFC 8446, such as 42 and "bad_certificate". It understands the
// errors of handshakes and of reads and writes after them.
func Alert(err error) (code uint8, text string, ok bool) {
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Op != "remote error" || op.Err == nil {
		return 0, "", false
	}
	// crypto/tls keeps the type of its alerts to itself; it is a uint8.
	v := reflect.ValueOf(op.Err)
	if v.Kind() != reflect.Uint8 {
		return 0, "", false
	}
	code = uint8(v.Uint())
	return code, alertName(code), true
}

func alertName(code uint8) string {
	for _, a := range alertNames {
		if a.code == code {
			return a.name
		}
	}
	return fmt.Sprintf("alert_%d", code)
}

var alertNames = []struct {
	code uint8
	name string
}{
	{0, "close_notify"}, {10, "unexpected_message"}, {20, "bad_record_mac"}, {21, "decryption_failed"},
	{22, "record_overflow"}, {30, "decompression_failure"}, {alertHandshakeFailure, "handshake_failure"},
	{41, "no_certificate"}, {alertBadCertificate, "bad_certificate"}, {alertUnsupported, "unsupported_certificate"},
	{alertRevoked, "certificate_revoked"}, {alertExpired, "certificate_expired"},
	{alertCertificateUnknown, "certificate_unknown"}, {47, "illegal_parameter"}, {alertUnknownCA, "unknown_ca"},
	{alertAccessDenied, "access_denied"}, {50, "decode_error"}, {alertDecryptError, "decrypt_error"},
	{60, "export_restriction"}, {alertProtocolVersion, "protocol_version"}, {71, "insufficient_security"},
	{80, "internal_error"}, {86, "inappropriate_fallback"}, {90, "user_canceled"}, {100, "no_renegotiation"},
	{109, "missing_extension"}, {110, "unsupported_extension"}, {111, "certificate_unobtainable"},
	{alertUnrecognizedName, "unrecognized_name"}, {113, "bad_certificate_status_response"},
	{114, "bad_certificate_hash_value"}, {115, "unknown_psk_identity"},
	{alertCertificateRequired, "certificate_required"}, {alertNoProtocol, "no_application_protocol"},
	{121, "ech_required"},
}
