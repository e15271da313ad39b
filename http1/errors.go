package http1

// Error is why a message is refused. It is one byte, so that refusing what an attacker
// sends costs no memory. After any of them the connection is of no use: the start of
// the next message is unknown.
type Error uint8

const (
	ErrRequestLine Error = iota + 1 // is not method SP target SP version CRLF
	ErrTarget                       // has bytes or a form that it may not have
	ErrVersion                      // neither HTTP/1.0 nor HTTP/1.1
	ErrPreface                      // HTTP/2 with prior knowledge
	ErrLongMethod
	ErrLongLine // the request line
	ErrLongHead // the head, or the trailers
	ErrManyFields
	ErrBareLF
	ErrBareCR
	ErrFold        // a line that continues the one before
	ErrSpaceInName // white space before the colon
	ErrFieldName
	ErrFieldValue     // a control in it
	ErrLookalike      // Content_Length, Transfer.Encoding
	ErrHost           // missing, twice, or not a host and port
	ErrOtherHost      // not that of the URL that is the target
	ErrContentLength  // not one plain decimal number
	ErrTransferCoding // malformed, twice, or in HTTP/1.0
	ErrUnknownCoding  // well formed, and not chunked alone
	ErrTwoLengths     // Content-Length and Transfer-Encoding
	ErrConnection     // malformed, too much, or names a field that must stay
	ErrUpgrade        // malformed, twice, or answered without having been asked
	ErrExpect         // other than 100-continue
	ErrTrailer        // announces trailers that frame the message
	ErrConnectBody    // CONNECT with a body
	ErrStatusLine     // of a response
	ErrChunkSize      // not plain hexadecimal, or too much of it
	ErrChunkExtension // too long, or with bytes that it may not have
	ErrChunkEnd       // no CRLF after a chunk's data
	ErrLongBody       // more than Body.Limit
	ErrTruncated      // the connection ended within the message
)

var reasons = [...]struct {
	status int
	text   string
}{
	ErrRequestLine:    {400, "request line: is not method, one space, target, one space, version (RFC 9112 3)"},
	ErrTarget:         {400, "request target: neither a path, http(s) URI, host:port of CONNECT nor * of OPTIONS (RFC 9112 3.2)"},
	ErrVersion:        {505, "request line: neither HTTP/1.0 nor HTTP/1.1"},
	ErrPreface:        {505, "request line: HTTP/2 with prior knowledge, which is not spoken here"},
	ErrLongMethod:     {501, "request line: method too long to be one that is known"},
	ErrLongLine:       {414, "request line: too long"},
	ErrLongHead:       {431, "head: too long"},
	ErrManyFields:     {431, "head: too many fields"},
	ErrBareLF:         {400, "line: LF without CR before it (RFC 9112 2.2)"},
	ErrBareCR:         {400, "line: CR without LF after it (RFC 9112 2.2)"},
	ErrFold:           {400, "line: continues another (RFC 9112 5.2)"},
	ErrSpaceInName:    {400, "field name: white space before the colon (RFC 9112 5.1)"},
	ErrFieldName:      {400, "field name: is not a token and a colon (RFC 9110 5.1)"},
	ErrFieldValue:     {400, "field value: control character (RFC 9110 5.5)"},
	ErrLookalike:      {400, "field name: Content-Length or Transfer-Encoding with another character for a hyphen"},
	ErrHost:           {400, "Host: want exactly one host and port (RFC 9112 3.2)"},
	ErrOtherHost:      {400, "Host: is not that of the request target (RFC 9112 3.2)"},
	ErrContentLength:  {400, "Content-Length: want it once, one decimal number without leading zeros (RFC 9112 6.3)"},
	ErrTransferCoding: {400, "Transfer-Encoding: malformed, twice, or in HTTP/1.0 (RFC 9112 6.1)"},
	ErrUnknownCoding:  {501, "Transfer-Encoding: only chunked is understood (RFC 9112 6.1)"},
	ErrTwoLengths:     {400, "Content-Length beside Transfer-Encoding (RFC 9112 6.3)"},
	ErrConnection:     {400, "Connection: malformed, too many options, or one that names Host or a length (RFC 9110 7.6.1)"},
	ErrUpgrade:        {400, "Upgrade: malformed, twice, or answered without having been asked (RFC 9110 7.8)"},
	ErrExpect:         {417, "Expect: only 100-continue can be met (RFC 9110 10.1.1)"},
	ErrTrailer:        {400, "Trailer: announces a field that tells where the message ends (RFC 9110 6.5.1)"},
	ErrConnectBody:    {400, "CONNECT with a body (RFC 9110 9.3.6)"},
	ErrStatusLine:     {502, "status line: is not HTTP/1.0 or HTTP/1.1, space, status, space, reason (RFC 9112 4)"},
	ErrChunkSize:      {400, "chunk: size is not 1 to 8 hexadecimal digits and CRLF (RFC 9112 7.1)"},
	ErrChunkExtension: {400, "chunk: extension too long, with a control character or an open quote (RFC 9112 7.1.1)"},
	ErrChunkEnd:       {400, "chunk: no CRLF where its size says that it ends (RFC 9112 7.1)"},
	ErrLongBody:       {413, "body: too long"},
	ErrTruncated:      {400, "message: the connection ended within it (RFC 9112 8)"},
}

func (e Error) Error() string {
	if int(e) < len(reasons) {
		return reasons[e].text
	}
	return "http1: no such error"
}

// Status is what a client whose request is refused for it gets: 400, 413, 414, 417,
// 431, 501 or 505. A response that is refused is always the server's fault, 502.
func (e Error) Status() int {
	if int(e) < len(reasons) && reasons[e].status != 0 {
		return reasons[e].status
	}
	return 400
}
