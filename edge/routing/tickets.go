package routing

import "crypto/tls"

// Tickets are the keys by which clients resume TLS sessions. Listeners that share them, in
// one process or in several that were given the same keys, resume each other's sessions; and so
// does an Edge those of the one before it. Made by NewTickets. All methods may be called at once.
type Tickets struct{ keys tls.Config }

// NewTickets returns keys of its own, which are made and changed daily.
func NewTickets() *Tickets { return new(Tickets) }

// SetKeys sets the keys in place of its own: the first makes tickets, all of them are taken.
func (t *Tickets) SetKeys(keys [][32]byte) { t.keys.SetSessionTicketKeys(keys) }

// use has a listener make and take tickets by t. A session is bound to what clients had to
// prove when it began: elsewhere it is not resumed, and the client proves anew.
func (t *Tickets) use(cfg *tls.Config, binding [32]byte) {
	bound := string(binding[:])
	cfg.WrapSession = func(state tls.ConnectionState, session *tls.SessionState) ([]byte, error) {
		session.Extra = append(session.Extra, []byte(bound))
		return t.keys.EncryptTicket(state, session)
	}
	cfg.UnwrapSession = func(ticket []byte, state tls.ConnectionState) (*tls.SessionState, error) {
		session, err := t.keys.DecryptTicket(ticket, state)
		if err != nil || session == nil {
			return nil, err
		}
		for i, extra := range session.Extra {
			if len(extra) == len(bound) {
				if string(extra) != bound {
					return nil, nil
				}
				session.Extra = append(session.Extra[:i:i], session.Extra[i+1:]...) // it is put there again with the next ticket
				return session, nil
			}
		}
		return nil, nil
	}
}
