package balance

import (
	"strings"
	"time"
)

// mostClasses is how many classes of requests are told apart in what people see; the requests of further ones are counted together.
const mostClasses = 16

// classIdle is how long a class that no request has used keeps its place from a new one.
const classIdle = 10 * time.Minute

// classes are what has become lately of the requests of the pool and of each class, for people: nothing is chosen by it.
type classes struct {
	all   traffic // of every request
	known []classTraffic
	other traffic // of classes beyond mostClasses
}

type classTraffic struct {
	name string
	used Instant // by a request
	traffic
}

// otherClasses is the number of the classes beyond mostClasses; 0 is that of no class.
const otherClasses = mostClasses + 1

// number returns the number of a class, which a lease keeps.
func (c *classes) number(now Instant, name string) uint8 {
	if name == "" {
		return 0
	}
	oldest := 0
	for i := range c.known {
		if c.known[i].name == name {
			c.known[i].used = now
			return uint8(i + 1)
		}
		if c.known[i].used < c.known[oldest].used {
			oldest = i
		}
	}
	if len(c.known) < mostClasses {
		c.known = append(c.known, classTraffic{name: strings.Clone(name), used: now})
		return uint8(len(c.known))
	}
	if now.Sub(c.known[oldest].used) < classIdle {
		return otherClasses
	}
	c.known[oldest] = classTraffic{name: strings.Clone(name), used: now}
	return uint8(oldest + 1)
}

// name returns the name of the class of a number; empty: none, or one of those that are not told apart.
func (c *classes) name(number uint8) string {
	if number == 0 || number == otherClasses {
		return ""
	}
	return c.known[number-1].name
}

// count enters a request of a class that is over.
func (c *classes) count(now Instant, class uint8, o Outcome) {
	c.all.count(now, o)
	switch {
	case class == otherClasses:
		c.other.count(now, o)
	case class > 0:
		c.known[class-1].count(now, o)
	}
}

// ClassView is what has become of the requests of a class. The empty name is that of the classes that are not told apart.
type ClassView struct {
	Name string
	Traffic
}

// Traffic returns what has become of all requests of the pool lately.
func (p *Pool) Traffic(now Instant) Traffic { return p.classes.all.view(now) }

// Classes returns what has become lately of the requests that have a class, by class.
func (p *Pool) Classes(now Instant) (list []ClassView) {
	c := &p.classes
	for i := range c.known {
		list = append(list, ClassView{c.known[i].name, c.known[i].view(now)})
	}
	if c.other.weight > 0 {
		list = append(list, ClassView{"", c.other.view(now)})
	}
	return list
}
