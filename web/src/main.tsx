import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./app";
import { start } from "./session";
import "./styles/base.css";
import "./styles/home.css";
import { showTheme } from "./theme";

showTheme();
start();
const root = document.getElementById("root");
if (root)
  createRoot(root).render(
    <StrictMode>
      <App />
    </StrictMode>,
  );
