import { Component, type ReactNode } from "react";
import { Icon } from "./icons";
import { strings } from "./strings";

const text = strings.broken;

interface BrokenProps {
  /** All of the page; beside other things; or nowhere in particular, so in a corner over it. */
  place: "page" | "aside" | "corner";
  title: string;
  sentence: string;
  again: () => void;
}

/** Says what is the matter where something should be shown, and offers to try again. */
export function Broken({ place, title, sentence, again }: BrokenProps) {
  const button = (
    <button type="button" className={place === "page" ? "button primary" : "button small"} onClick={again}>
      {strings.errors.again}
    </button>
  );
  if (place !== "page") {
    return (
      <div className={place === "corner" ? "notice bad corner" : "notice bad"} role="alert">
        <p>
          <strong>{title}.</strong> {sentence}
        </p>
        {button}
      </div>
    );
  }
  return (
    <section className="plain" role="alert">
      <span className="none-icon">
        <Icon name="cloudOff" size={28} />
      </span>
      <h1>{title}</h1>
      <p className="lead">{sentence}</p>
      {button}
    </section>
  );
}

interface GuardProps {
  place: BrokenProps["place"];
  children: ReactNode;
}

/** What breaks in it does not take the rest of the page along. Where it breaks again, the page begins anew. */
export class Guard extends Component<GuardProps, { broken: boolean; tried: boolean }> {
  override state = { broken: false, tried: false };

  static getDerivedStateFromError() {
    return { broken: true };
  }

  override render() {
    const { broken, tried } = this.state;
    if (!broken) return this.props.children;
    const again = () => (tried ? location.reload() : this.setState({ broken: false, tried: true }));
    return <Broken place={this.props.place} title={text.crashed} sentence={text.crashedText} again={again} />;
  }
}
