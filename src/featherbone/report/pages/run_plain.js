// The page of a run whose task has no part of its own: scores, curves and recipe.
const reached = Object.entries(result).filter(([name, value]) => typeof value === "number" && !["train_seconds", "epochs", "threads"].includes(name));
head(reached.map(([name, value]) => [`held-out ${name}`, plain(value)]), reached.map(([name]) => name));
curves("", {});
begin({});
