// What the declarations of playwright-core name of the DOM. The whole `dom` library would let all of src use a browser's globals unnoticed.
type Node = object
type HTMLElement = object
type SVGElement = object
type HTMLElementTagNameMap = Readonly<Record<never, object>>
