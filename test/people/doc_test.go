// Package people_test shows that raybuild does what people of this field rightly expect where they report trouble with
// tools of its kind. A test named TestCase7… is of case 7 of that list; its rows are the case and its siblings, which
// have the same cause.
package people_test
